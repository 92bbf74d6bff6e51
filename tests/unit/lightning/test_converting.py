"""A checkpoint that Lightning saved by itself is converted, and a Trainer with the plug-in goes on from it."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from milepost.checkpoint import load_checkpoint
from milepost.checkpoint.converting import convert
from milepost.checkpoint.foreign import open_foreign
from milepost.lightning import load_module
from milepost.lightning.contents import read_checkpoint
from milepost.lightning.converting import arranged


@pytest.fixture
def theirs(tmp_path: Path, tiny: Any, make_loader: Any) -> Path:
    """Train for two epochs with a plain Trainer, which saves as Lightning does."""
    saving = ModelCheckpoint(dirpath=tmp_path, filename="theirs")
    plain = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, max_epochs=2, callbacks=[saving],
    )  # fmt: skip
    plain.fit(tiny(), make_loader(), make_loader(shuffle=False))
    return tmp_path / "theirs.ckpt"


def test_a_trainer_goes_on_from_a_converted_checkpoint(
    theirs: Path, tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    target = tmp_path / "theirs.milepost.ckpt"
    done = convert(theirs, target, arrange={"lightning checkpoint": arranged})
    assert done.kind == "lightning checkpoint"
    expected = torch.load(theirs, weights_only=False)
    found = read_checkpoint(target)
    assert list(found) == list(expected)
    for name, value in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value)
    assert found["hyper_parameters"] == dict(expected["hyper_parameters"])
    module = load_module(tiny, target)
    assert torch.equal(module.layers[0].weight, expected["state_dict"]["layers.0.weight"])
    # Lightning takes over what a callback remembers only where it saves into the same folder.
    saving = ModelCheckpoint(dirpath=tmp_path, filename="ours", save_top_k=-1)
    trainer = make_trainer(tmp_path, epochs=3, callbacks=(saving,))
    trainer.fit(tiny(), make_loader(), make_loader(shuffle=False), ckpt_path=str(target))
    assert trainer.global_step == 15


def test_the_command_lays_it_out_so(theirs: Path, tmp_path: Path) -> None:
    from milepost.cli.convert import lightning

    found = open_foreign(theirs)
    assert found is not None
    laid_out = lightning(found)
    assert laid_out is not None
    assert laid_out.versions == {"lightning": 1}
    assert laid_out.options_yaml == "hyper_parameters:\n  width: 4\n  rate: 0.1\n"


def test_without_the_plug_in_the_weights_are_a_component(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    from milepost.cli.convert import lightning
    from milepost.errors import MissingDependencyError

    load = builtins.__import__

    def absent(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "milepost.lightning.converting":
            raise MissingDependencyError("lightning is not installed")
        return load(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    convert(theirs, tmp_path / "ours.ckpt", arrange={"lightning checkpoint": lightning})
    monkeypatch.undo()
    with load_checkpoint(tmp_path / "ours.ckpt") as checkpoint:
        assert checkpoint.components == ("model", "other")
