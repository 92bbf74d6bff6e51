"""Kinds are recognized by content, and say what describes them."""

import argparse
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from milepost.checkpoint.foreign import ForeignFile, open_foreign
from unit.checkpoint.foreign.comparing import assert_same
from unit.checkpoint.foreign.objects import trained


def saved(path: Path, value: Any) -> ForeignFile:
    torch.save(value, path)
    found = open_foreign(path)
    assert found is not None
    return found


def test_a_state_dict(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", nn.Linear(2, 3).state_dict() | {"norm._extra_state": {"n": 1}})
    assert found.kind == "torch state dict"
    assert found.metadata == {}
    assert [row.name for row in found.tensor_table()] == ["weight", "bias"]


@pytest.mark.parametrize("value", [{}, [], 3, torch.ones(1), {"a": torch.ones(1), "b": 2}, {1: torch.ones(1)}])
def test_other_trees(value: Any, tmp_path: Path) -> None:
    assert saved(tmp_path / "f", value).kind == "torch file"


def test_a_torch_file_is_described_by_its_plain_entries(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", {"epoch": 3, "name": "x", "model": {"w": torch.ones(1)}, "lr": 0.1, "best": None})
    assert found.metadata == {"epoch": 3, "name": "x", "lr": 0.1, "best": None}


def lightning() -> dict[str, Any]:
    """Give what Lightning 2.6 writes."""
    net, optimizer = trained()
    return {
        "epoch": 4,
        "global_step": 120,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": net.state_dict(),
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"width": 4, "root": Path("data")},
    }


def test_a_lightning_checkpoint(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", lightning())
    assert found.kind == "lightning checkpoint"
    assert found.suspicious == ()
    assert found.metadata == {
        "epoch": 4,
        "global_step": 120,
        "pytorch-lightning_version": "2.6.0",
        "hparams_name": "kwargs",
        "hyper_parameters": {"width": 4, "root": "data"},
    }
    names = [row.name for row in found.tensor_table()]
    assert "state_dict.first.weight" in names
    assert "optimizer_states.0.state.0.exp_avg" in names


def test_what_lightning_itself_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # Lightning sets it and leaves it
    module = pytest.importorskip("lightning.pytorch")

    class Model(module.LightningModule):
        def __init__(self, width: int = 3) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = nn.Linear(width, 1)

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            return self.layer(batch).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = module.Trainer(
            max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        model = Model()
        trainer.fit(model, torch.utils.data.DataLoader(torch.ones(4, 3), batch_size=2))
        trainer.save_checkpoint(tmp_path / "f")
    found = open_foreign(tmp_path / "f")
    assert found is not None
    assert found.kind == "lightning checkpoint"
    assert found.suspicious == ()
    assert (found.metadata["global_step"], found.metadata["hyper_parameters"]) == (2, {"width": 3})
    assert_same(found.tree()["state_dict"], dict(model.state_dict()))


def mammoth() -> dict[str, Any]:
    """Give what Mammoth writes in the mode "safe"."""
    net, optimizer = trained()
    return {
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": None,
        "args": {"model": "er", "dataset": "seq-cifar10", "buffer_size": 200, "lr": 0.1},
        "results": [[10.5, 20.0], [9.0], {"fwt": None}],
        "buffer": {"examples": torch.zeros(4, 3, 2, 2), "labels": torch.tensor([0, 1, 1, 0])},
    }


def test_a_mammoth_checkpoint(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", mammoth())
    assert found.kind == "mammoth checkpoint"
    assert found.suspicious == ()
    assert found.metadata == {
        "args": {"model": "er", "dataset": "seq-cifar10", "buffer_size": 200, "lr": 0.1},
        "results": [[10.5, 20.0], [9.0], {"fwt": None}],
    }
    assert "buffer.examples" in [row.name for row in found.tensor_table()]


def test_a_mammoth_checkpoint_with_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Buffer:
        pass

    Buffer.__module__, Buffer.__qualname__ = "utils.buffer", "Buffer"
    module = types.ModuleType("utils.buffer")
    module.Buffer = Buffer
    buffer = Buffer()
    buffer.num_seen_examples, buffer.examples = 7, torch.arange(3)
    value = mammoth() | {"args": argparse.Namespace(model="er", lr=np.float64(0.1)), "buffer": buffer}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "utils", types.ModuleType("utils"))
        patch.setitem(sys.modules, "utils.buffer", module)
        torch.save(value, tmp_path / "f")
    found = open_foreign(tmp_path / "f")
    assert found is not None
    assert found.kind == "mammoth checkpoint"
    assert found.suspicious == ("utils.buffer.Buffer",)
    assert found.metadata["args"] == {"model": "er", "lr": 0.1}
    tree = found.tree()["buffer"]
    assert tree["class"] == "utils.buffer.Buffer"
    assert tree["state"]["num_seen_examples"] == 7
    assert found.tensors()["buffer.state.examples"].tolist() == [0, 1, 2]
    assert "utils.buffer" not in sys.modules


def metatrain() -> dict[str, Any]:
    """Give the keys that metatrain 2026.4 writes."""
    state = nn.Linear(2, 3).state_dict()
    return {
        "architecture_name": "soap_bpnn",
        "model_ckpt_version": 9,
        "model_data": {"model_hypers": {"cutoff": 5.0}, "dataset_info": {}},
        "epoch": 3,
        "best_epoch": 2,
        "model_state_dict": state,
        "best_model_state_dict": state,
        "train_hypers": {"batch_size": 8},
        "trainer_ckpt_version": 12,
        "optimizer_state_dict": None,
        "best_metric": torch.tensor(0.5),
    }


def test_a_metatrain_checkpoint(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", metatrain())
    assert found.kind == "metatrain checkpoint"
    assert found.metadata == {
        "architecture_name": "soap_bpnn",
        "model_ckpt_version": 9,
        "trainer_ckpt_version": 12,
        "epoch": 3,
        "best_epoch": 2,
        "train_hypers": {"batch_size": 8},
        "model_hypers": {"cutoff": 5.0},
    }


@pytest.mark.parametrize(
    ("make", "key"), [(lightning, "state_dict"), (mammoth, "model"), (metatrain, "model_state_dict")]
)
def test_a_kind_needs_the_weights(make: Any, key: str, tmp_path: Path) -> None:
    assert saved(tmp_path / "f", make() | {key: None}).kind == "torch file"
    value = make()
    del value[key]
    assert saved(tmp_path / "g", value).kind == "torch file"
