"""`load_module` gives what `load_from_checkpoint` gives for a file of Lightning's own."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO
from torch import nn

from milepost.errors import StateMismatchError
from milepost.lightning import MilepostCheckpointIO, load_module


class Whole(pl.LightningModule):
    """Take all hyper-parameters in one argument."""

    def __init__(self, settings: Any) -> None:
        super().__init__()
        self.save_hyperparameters(settings)
        self.layer = nn.Linear(settings.width, 1)


class Needy(pl.LightningModule):
    """Need an argument that is not saved."""

    def __init__(self, width: int, net: nn.Module) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["net"])
        self.net = net


class Open(pl.LightningModule):
    """Take any arguments."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.arguments = arguments
        self.seen: Any = None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seen = checkpoint["global_step"]


def saved(module: pl.LightningModule, path: Path) -> Path:
    """Save a module without training it, and beside it as Lightning does."""
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=path.parent,
    )
    trainer.strategy.connect(module)
    dumped = trainer._checkpoint_connector.dump_checkpoint(weights_only=True)
    MilepostCheckpointIO(background=False, durability="process").save_checkpoint(dumped, path)
    TorchCheckpointIO().save_checkpoint(dumped, path.with_suffix(".own"))
    return path


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_module_is_built_from_its_hyper_parameters(tmp_path: Path, tiny: Any) -> None:
    path = saved(tiny(width=6), tmp_path / "a.ckpt")
    found = load_module(tiny, path)
    own = tiny.load_from_checkpoint(path.with_suffix(".own"), weights_only=False)
    assert same(found, own)
    assert dict(found.hparams) == dict(own.hparams) == {"width": 6, "rate": 0.1}
    assert dict(load_module(tiny, path, rate=0.5).hparams) == {"width": 6, "rate": 0.5}


def test_hyper_parameters_in_one_argument(tmp_path: Path) -> None:
    path = saved(Whole(Namespace(width=3)), tmp_path / "a.ckpt")
    with pytest.raises(AttributeError):
        Whole.load_from_checkpoint(path.with_suffix(".own"), weights_only=False)  # Lightning hands over a dict, too
    found = load_module(Whole, path, settings=Namespace(width=3))
    assert found.layer.in_features == 3


def test_any_arguments_and_the_modules_own_hook(tmp_path: Path) -> None:
    found = load_module(Open, saved(Open(a=1, b="two"), tmp_path / "a.ckpt"))
    assert found.arguments == {"a": 1, "b": "two"}
    assert found.seen == 0


def test_an_argument_that_was_not_saved_is_asked_for(tmp_path: Path) -> None:
    path = saved(Needy(2, nn.Linear(2, 1)), tmp_path / "a.ckpt")
    with pytest.raises(StateMismatchError, match=r"missing a required argument: 'net', .*have width of it"):
        load_module(Needy, path)
    assert same(load_module(Needy, path, net=nn.Linear(2, 1)), Needy.load_from_checkpoint(
        path.with_suffix(".own"), net=nn.Linear(2, 1), weights_only=False
    ))  # fmt: skip


def test_weights_that_do_not_fit_are_named(tmp_path: Path, tiny: Any) -> None:
    path = saved(tiny(width=6), tmp_path / "a.ckpt")
    said = r"(?s)could not load '.*a.ckpt' as Tiny:.*'layers\.0\.weight': expected float32 \(5, 3\), found .* \(6, 3\)"
    with pytest.raises(StateMismatchError, match=said):
        load_module(tiny, path, width=5)


def test_the_module_lies_where_map_location_says(tmp_path: Path, tiny: Any) -> None:
    path = saved(tiny(), tmp_path / "a.ckpt")
    assert load_module(tiny, path, map_location="cpu").device.type == "cpu"


def test_trained_weights_are_loaded(tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any) -> None:
    module = tiny(width=5)
    make_trainer(tmp_path, epochs=1, callbacks=(ModelCheckpoint(dirpath=tmp_path),)).fit(module, make_loader())
    assert same(load_module(tiny, tmp_path / "epoch=0-step=5.ckpt"), module)
