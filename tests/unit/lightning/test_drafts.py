"""What a killed process left goes when the next fit begins, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint

from milepost.lightning import ExactResume
from milepost.lightning.drafts import discard_left


def left(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f".{name}.0a1b2c3d.draft").write_bytes(b"half")


def there(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".0a1b2c3d.draft") for path in folder.iterdir())


@pytest.mark.parametrize(
    ("settings", "own", "others"),
    [
        ({}, ["epoch=0-step=20.ckpt", "epoch=3-step=1-v2.ckpt", "last.ckpt", "last-v1.ckpt"],
         ["step-00000020.ckpt", "epoch=0.ckpt", "model.ckpt", "last.json", "epoch=0-step=2.pt"]),
        ({"filename": "best-{val_loss:.2f}"}, ["best-val_loss=0.25.ckpt"], ["best-0.25.ckpt", "epoch=0-step=20.ckpt"]),
        ({"filename": "n{step:03d}", "auto_insert_metric_name": False}, ["n020.ckpt"], ["m020.ckpt", "n.ckpt"]),
        ({"filename": "a/{step}"}, ["last.ckpt"], ["step=3.ckpt"]),
    ],
)  # fmt: skip
def test_drafts_of_the_callbacks_own_names_go(
    tmp_path: Path, settings: dict[str, Any], own: list[str], others: list[str]
) -> None:
    left(tmp_path, *own, *others)
    (tmp_path / "epoch=0-step=20.ckpt").touch()
    (tmp_path / ".hidden").touch()
    removed = discard_left([LearningRateMonitor(), ModelCheckpoint(tmp_path, **settings), ModelCheckpoint()])
    assert sorted(path.name for path in removed) == sorted(f".{name}.0a1b2c3d.draft" for name in own)
    assert there(tmp_path) == sorted(["epoch=0-step=20.ckpt", ".hidden", *(f".{name}" for name in others)])


def test_the_next_fit_removes_them_and_one_process_does(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    left(tmp_path, "epoch=7-step=99.ckpt", "others.ckpt")
    make_trainer(tmp_path, epochs=1).fit(tiny(), make_loader())
    assert there(tmp_path) == [".others.ckpt", "epoch=0-step=5.ckpt"]

    class Second:
        is_global_zero = False

    left(tmp_path, "epoch=7-step=99.ckpt")
    ExactResume().on_train_start(Second(), None)
    assert ".epoch=7-step=99.ckpt" in there(tmp_path)


def test_with_lightnings_own_files_nothing_is_looked_for(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    from lightning.pytorch.plugins import TorchCheckpointIO

    left(tmp_path, "epoch=7-step=99.ckpt")
    make_trainer(tmp_path, epochs=1, plugin=TorchCheckpointIO()).fit(tiny(), make_loader())
    assert ".epoch=7-step=99.ckpt" in there(tmp_path)
