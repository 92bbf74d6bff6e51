"""`milepost convert` writes what the ending of the output says, and tells what it did."""

import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from milepost.checkpoint import save_checkpoint

STORED = Path(__file__).parents[2] / "compat" / "checkpoints" / "v1.ckpt"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Save a checkpoint with raw and averaged weights."""
    path = tmp_path / "model.ckpt"
    save_checkpoint(path, {"model": {"w": torch.ones(2)}, "ema": {"w": torch.zeros(2)}}, durability="process")
    return path


def test_averaged_weights_are_written(milepost, checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "weights.safetensors"
    ended = milepost("convert", checkpoint, "-o", target)
    assert ended.status == 0
    assert ended.err == ""
    assert ended.out == (f"weights: component 'ema'\n{target}: 1 tensor, weights, as safetensors (from a checkpoint)\n")
    assert safetensors.torch.load_file(target)["w"].tolist() == [0.0, 0.0]


def test_raw_weights_are_written_when_they_are_asked_for(milepost, checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "weights.pt"
    ended = milepost("convert", checkpoint, "--output", target, "--weights", "raw")
    assert ended.status == 0
    assert ended.out.splitlines()[-1] == (f"{target}: 1 tensor, weights, as a plain state dict (from a checkpoint)")
    assert torch.load(target, weights_only=True)["w"].tolist() == [1.0, 1.0]


def test_a_checkpoint_is_brought_up_to_date(milepost, checkpoint: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.ckpt"
    ended = milepost("convert", checkpoint, "-o", target)
    assert ended.out == (
        "nothing to upgrade: all its versions are those of today\n"
        f"{target}: 2 tensors, checkpoint (from a checkpoint)\n"
    )
    assert milepost("diff", checkpoint, target).status == 0


def test_what_cannot_be_done(milepost, checkpoint: Path, tmp_path: Path) -> None:
    ended = milepost("convert", checkpoint, "-o", checkpoint)
    assert ended.status == 1
    assert ended.out == ""
    assert ended.err == (
        f"error: could not convert to '{checkpoint}': expected a free name, found a file. Nothing is ever replaced: "
        "choose another name.\n"
    )
    assert milepost("convert", checkpoint).status == 2
    ended = milepost("convert", checkpoint, "-o", tmp_path / "a.pt", "--weights", "best")
    assert ended.status == 2
    assert "'best' is not one of 'raw', 'average'" in ended.err


def test_only_a_classifier_is_laid_out_for_mammoth(milepost, tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    shutil.copy(STORED, path)
    ended = milepost("convert", path, "-o", tmp_path / "a.pt", "--to", "mammoth")
    assert ended.status == 1
    assert ended.err == (
        f"error: could not convert '{path}' for Mammoth: expected a classifier, found a model of the domain 'atoms'. "
        "Convert its weights alone: leave --to away.\n"
    )
    assert not (tmp_path / "a.pt").exists()


def test_what_mammoth_does_not_take(milepost, checkpoint: Path, tmp_path: Path) -> None:
    ended = milepost("convert", checkpoint, "-o", tmp_path / "a.ckpt", "--to", "mammoth")
    assert ended.status == 1
    assert "for Mammoth: expected a name that ends in .pt, found '.ckpt'" in ended.err
    ended = milepost("convert", checkpoint, "-o", tmp_path / "a.pt", "--to", "mammoth", "--weights", "raw")
    assert ended.status == 2
    assert "expected one of --to and --weights, found both" in ended.err
