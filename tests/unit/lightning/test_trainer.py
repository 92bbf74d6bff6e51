"""A Trainer named in a configuration file goes on by itself."""

import importlib
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from milepost.checkpoint import CheckpointRecord, load_checkpoint, save_checkpoint
from milepost.errors import ResumeError, UnsupportedVersionError
from milepost.lightning import ExactResume, MilepostCheckpointIO, ResumingTrainer
from milepost.lightning.trainer import furthest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "lightning.md"
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def built(tree: Any) -> Any:
    """Build what a configuration names, innermost first, as Hydra's `instantiate` does."""
    if isinstance(tree, list):
        return [built(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    values = {key: built(item) for key, item in tree.items()}
    if "_target_" not in values:
        return values
    module, _, name = values.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(**values)


def on_the_page() -> dict[str, Any]:
    """Read the configuration that the page shows."""
    found = re.search(r"```text\n(trainer:\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return yaml.safe_load(found[1])["trainer"]


def test_the_configuration_on_the_page_trains_and_goes_on(
    tmp_path: Path, tiny: Any, make_loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for epochs in (1, 2):
        trainer = built(on_the_page() | QUIET | {"max_epochs": epochs})
        assert isinstance(trainer, pl.Trainer)
        trainer.fit(tiny(), make_loader())
        assert trainer.global_step == 5 * epochs
    with load_checkpoint("checkpoints/last.ckpt") as checkpoint:
        assert (checkpoint.record.step, checkpoint.record.epoch) == (10, 2)
    assert str(trainer.ckpt_path) == str(Path("checkpoints") / Path(trainer.ckpt_path).name)


def test_damaged_files_are_passed_over_with_a_warning(tmp_path: Path, tiny: Any, make_loader: Any) -> None:
    def trainer(epochs: int) -> ResumingTrainer:
        keep = ModelCheckpoint(tmp_path, save_top_k=-1)
        return ResumingTrainer(
            resume_from=tmp_path, max_epochs=epochs, plugins=[MilepostCheckpointIO()],
            callbacks=[ExactResume(), keep], **QUIET,
        )  # fmt: skip

    trainer(2).fit(tiny(), make_loader())
    newest = tmp_path / "epoch=1-step=10.ckpt"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match=r"going on from .*step=5.ckpt; passed over .*step=10.ckpt: .*truncated"):
        found = furthest(tmp_path)
    assert found == tmp_path / "epoch=0-step=5.ckpt"
    found.unlink()
    with pytest.raises(ResumeError, match=r"found only damaged files: .*step=10.ckpt"):
        trainer(2).fit(tiny(), make_loader())


def test_a_file_of_a_newer_version_stops_the_trainer(tmp_path: Path, tiny: Any, make_loader: Any) -> None:
    save_checkpoint(tmp_path / "a.ckpt", {}, record=CheckpointRecord(step=3))
    save_checkpoint(tmp_path / "b.ckpt", {}, record=CheckpointRecord(step=4))
    newer = tmp_path / "b.ckpt"
    newer.write_bytes(newer.read_bytes().replace(b"milepost-archive 0001", b"milepost-archive 0002"))
    trainer = ResumingTrainer(resume_from=tmp_path, enable_checkpointing=False, **QUIET)
    with pytest.raises(UnsupportedVersionError, match=r"could not go on .*b.ckpt.* [Ii]nstall .*milepost"):
        trainer.fit(tiny(), make_loader())


def test_a_path_that_is_given_counts(tmp_path: Path, tiny: Any, make_loader: Any) -> None:
    keep = ModelCheckpoint(tmp_path, save_top_k=-1)
    settings = {"resume_from": tmp_path, "plugins": [MilepostCheckpointIO()], **QUIET}
    ResumingTrainer(max_epochs=2, callbacks=[ExactResume(), keep], **settings).fit(tiny(), make_loader())
    trainer = ResumingTrainer(max_epochs=1, callbacks=[ExactResume()], enable_checkpointing=False, **settings)
    trainer.fit(tiny(), make_loader(), ckpt_path=tmp_path / "epoch=0-step=5.ckpt")
    assert trainer.global_step == 5
    assert furthest(tmp_path / "absent") is None
