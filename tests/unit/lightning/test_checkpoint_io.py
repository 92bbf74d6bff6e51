"""What a Trainer hands over is an archive on disk, and comes back; errors and removals wait for nobody's luck."""

import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import safetensors.torch
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from milepost.archive import write_archive
from milepost.checkpoint import CheckpointRecord, background, load_checkpoint, newest_verified, save_checkpoint
from milepost.errors import CommitError, DamagedArchiveError, NotAnArchiveError, UnsavableError, UnsupportedVersionError
from milepost.lightning import ExactResume, MilepostCheckpointIO
from milepost.lightning import contents as lightning_contents


def content(step: int = 1, run: float = 0.0) -> dict[str, Any]:
    """Build a dict of Lightning's form by hand."""
    return {
        "epoch": 0,
        "global_step": step,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {"layer.weight": torch.full((2, 2), float(step))},
        "loops": {"fit_loop": {"epoch_progress": {"current": {"processed": 1}}}},
        "callbacks": {"ModelCheckpoint{}": {"monitor": "val_loss", "current_score": torch.tensor(0.5)}},
        "hyper_parameters": {"width": 4},
        "mine": [run],
    }


@pytest.fixture
def plugin() -> Iterator[MilepostCheckpointIO]:
    """Give a plug-in, and end its thread."""
    made = MilepostCheckpointIO(durability="process")
    yield made
    made.teardown()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hold every save of the background until the event is set."""
    opened, write = threading.Event(), background.write_plan

    def waiting(*arguments: Any, **options: Any) -> Any:
        opened.wait(30)
        return write(*arguments, **options)

    monkeypatch.setattr(background, "write_plan", waiting)
    yield opened
    opened.set()


def fails(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the disk be full for one file."""
    write = background.write_plan

    def failing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise CommitError(f"could not write '{path}': No space left on device")
        return write(path, *arguments, **options)

    monkeypatch.setattr(background, "write_plan", failing)


def equal(found: Any, wanted: Any) -> bool:
    """Compare two trees with tensors, and their types."""
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, torch.Tensor):
        return torch.equal(found, wanted) and found.dtype == wanted.dtype
    if isinstance(wanted, dict):
        return list(found) == list(wanted) and all(equal(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list | tuple):
        return len(found) == len(wanted) and all(map(equal, found, wanted))
    return found == wanted or (found != found and wanted != wanted)


def test_a_trainers_file_is_an_archive_with_the_weights_by_name(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    module = tiny()
    make_trainer(tmp_path, epochs=1).fit(module, make_loader(), make_loader(shuffle=False))
    path = tmp_path / "epoch=0-step=5.ckpt"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unzipped")
    weights = safetensors.torch.load_file(tmp_path / "unzipped" / "model.safetensors")
    assert weights.keys() == module.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in module.state_dict().items())


def test_the_record_says_whose_it_is_and_how_far(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    resume = ExactResume()
    keep = ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1)
    make_trainer(tmp_path, epochs=2, callbacks=(resume, keep)).fit(tiny(), make_loader(), make_loader(shuffle=False))
    with load_checkpoint(tmp_path / "epoch=1.ckpt") as checkpoint:
        record = checkpoint.record
        assert checkpoint.options_yaml == "hyper_parameters:\n  width: 4\n  rate: 0.1\n"
    assert (record.run_id, record.step, record.epoch) == (resume.run_id, 10, 2)
    assert list(record.metrics) == ["val_loss"]
    assert record.environment["lightning"] == pl.__version__
    assert newest_verified(tmp_path)[0] == tmp_path / "epoch=1.ckpt"


def test_the_dict_comes_back_as_from_lightnings_own_file(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    trainer = make_trainer(tmp_path, epochs=1)
    trainer.fit(tiny(), make_loader(), make_loader(shuffle=False))
    dumped = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    own, ours = TorchCheckpointIO(), MilepostCheckpointIO(background=False)
    own.save_checkpoint(dumped, tmp_path / "own.ckpt")
    ours.save_checkpoint(dumped, tmp_path / "ours.ckpt")
    wanted = own.load_checkpoint(tmp_path / "own.ckpt", weights_only=False)
    found = ours.load_checkpoint(tmp_path / "ours.ckpt")
    for key, value in wanted.items():
        assert equal(found[key], value), key
    assert list(found) == list(wanted)
    assert found["state_dict"]._metadata == wanted["state_dict"]._metadata


def test_metrics_come_from_the_callbacks_where_nobody_names_them(plugin: Any, tmp_path: Path) -> None:
    plugin.save_checkpoint(content(step=7), tmp_path / "a.ckpt")
    plugin.wait()
    with load_checkpoint(tmp_path / "a.ckpt") as checkpoint:
        assert dict(checkpoint.record.metrics) == {"val_loss": 0.5}
        assert (checkpoint.record.step, checkpoint.record.epoch) == (7, 1)


def test_what_is_saved_is_what_was_handed_over(plugin: Any, gate: threading.Event, tmp_path: Path) -> None:
    handed = content(step=3)
    plugin.save_checkpoint(handed, tmp_path / "a.ckpt")
    handed["state_dict"]["layer.weight"].zero_()
    gate.set()
    assert plugin.load_checkpoint(tmp_path / "a.ckpt")["state_dict"]["layer.weight"].eq(3).all()


def test_folders_are_made(plugin: Any, tmp_path: Path) -> None:
    plugin.save_checkpoint(content(), tmp_path / "logs" / "version_0" / "a.ckpt")
    plugin.wait()
    assert (tmp_path / "logs" / "version_0" / "a.ckpt").exists()


def test_folders_that_must_survive_a_power_cut_are_made_too(tmp_path: Path) -> None:
    durable = MilepostCheckpointIO(background=False)
    durable.save_checkpoint(content(), tmp_path / "logs" / "a.ckpt")
    assert newest_verified(tmp_path / "logs")[0] == tmp_path / "logs" / "a.ckpt"


def test_a_folder_that_cannot_be_made_fails_at_once(plugin: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CommitError, match=r"could not make the folder '.*taken': .* Choose another one\."):
        plugin.save_checkpoint(content(), tmp_path / "taken" / "a.ckpt")


def test_an_error_of_the_background_comes_out_of_the_next_save_once(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, "a.ckpt")
    plugin.save_checkpoint(content(1), tmp_path / "a.ckpt")
    with pytest.raises(CommitError, match="No space left"):
        plugin.save_checkpoint(content(2), tmp_path / "b.ckpt")
    plugin.save_checkpoint(content(3), tmp_path / "c.ckpt")
    plugin.teardown()
    assert [path.name for path in tmp_path.iterdir()] == ["c.ckpt"]


def test_an_error_of_the_last_save_comes_out_of_the_teardown(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, "a.ckpt")
    plugin.save_checkpoint(content(), tmp_path / "a.ckpt")
    with pytest.raises(CommitError, match="No space left"):
        plugin.teardown()
    plugin.teardown()


def test_a_fit_whose_last_save_fails_raises(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, "epoch=1-step=10.ckpt")
    keep_one = ModelCheckpoint(dirpath=tmp_path, save_top_k=1)
    with pytest.raises(CommitError, match="No space left"):
        make_trainer(tmp_path, epochs=2, callbacks=(ExactResume(), keep_one)).fit(tiny(), make_loader())
    assert [path.name for path in tmp_path.iterdir()] == ["epoch=0-step=5.ckpt"], "the last good one is still there"
    assert newest_verified(tmp_path)[0] is not None


def test_keeping_one_leaves_one(tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any) -> None:
    keep_one = ModelCheckpoint(dirpath=tmp_path, save_top_k=1)
    make_trainer(tmp_path, epochs=3, callbacks=(ExactResume(), keep_one)).fit(tiny(), make_loader())
    assert [path.name for path in tmp_path.iterdir()] == ["epoch=2-step=15.ckpt"]


def test_the_older_file_stays_until_the_newer_one_is_committed(
    plugin: Any, gate: threading.Event, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.ckpt", tmp_path / "new.ckpt"
    gate.set()
    plugin.save_checkpoint(content(1), old)
    plugin.wait()
    gate.clear()
    plugin.save_checkpoint(content(2), new)
    plugin.remove_checkpoint(old)
    assert (old.exists(), new.exists()) == (True, False)
    gate.set()
    plugin.wait()
    assert (old.exists(), new.exists()) == (False, True)


def test_the_older_file_stays_where_the_newer_one_failed(
    plugin: Any, gate: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.set()
    plugin.save_checkpoint(content(1), tmp_path / "old.ckpt")
    plugin.wait()
    gate.clear()
    fails(monkeypatch, "new.ckpt")
    plugin.save_checkpoint(content(2), tmp_path / "new.ckpt")
    plugin.remove_checkpoint(tmp_path / "old.ckpt")
    gate.set()
    with pytest.raises(CommitError):
        plugin.wait()
    plugin.teardown()
    assert [path.name for path in tmp_path.iterdir()] == ["old.ckpt"]


def test_the_older_file_stays_where_the_newer_one_is_damaged(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old.ckpt", tmp_path / "new.ckpt"
    plugin.save_checkpoint(content(1), old)
    plugin.save_checkpoint(content(2), new)
    plugin.wait()
    written = bytearray(new.read_bytes())
    written[written.index(b"hyper_parameters:\n")] ^= 1
    new.write_bytes(written)
    with pytest.raises(DamagedArchiveError, match=r"could not remove '.*old.ckpt': its successor .* is damaged"):
        plugin.remove_checkpoint(old)
    assert old.exists()


def test_files_of_others_are_not_removed(plugin: Any, tmp_path: Path) -> None:
    other = MilepostCheckpointIO(background=False)
    other.save_checkpoint(content(), tmp_path / "others.ckpt")
    torch.save({}, tmp_path / "lightnings.ckpt")
    (tmp_path / "folder.ckpt").mkdir()
    plugin.save_checkpoint(content(), tmp_path / "mine.ckpt")
    plugin.wait()
    for name in ("others", "lightnings", "folder", "absent"):
        plugin.remove_checkpoint(tmp_path / f"{name}.ckpt")
    assert len(list(tmp_path.iterdir())) == 4


def test_without_a_run_nothing_is_removed(tmp_path: Path) -> None:
    nobodys = MilepostCheckpointIO(background=False)
    nobodys.run_id = ""
    nobodys.save_checkpoint(content(), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"could not remove '.*a.ckpt': expected a run, found an empty run_id"):
        nobodys.remove_checkpoint(tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").exists()


@pytest.mark.parametrize("background", [True, False])
def test_a_file_of_a_newer_version_is_not_replaced(tmp_path: Path, background: bool) -> None:
    path = tmp_path / "last.ckpt"
    plugin = MilepostCheckpointIO(durability="process", background=background)
    plugin.save_checkpoint(content(), path)
    plugin.wait()
    newer = path.read_bytes().replace(b"milepost-archive 0001", b"milepost-archive 0002")
    path.write_bytes(newer)

    def save() -> None:
        plugin.save_checkpoint(content(2), path)
        plugin.wait()

    with pytest.raises(UnsupportedVersionError, match=r"could not replace '.*last.ckpt'.* [Ii]nstall .*milepost"):
        save()
    plugin.teardown()
    assert path.read_bytes() == newer


@pytest.mark.parametrize("background", [True, False])
def test_drafts_of_the_same_name_are_removed_and_no_others(tmp_path: Path, background: bool) -> None:
    (tmp_path / ".a.ckpt.01234567.draft").write_bytes(b"half")
    (tmp_path / ".b.ckpt.01234567.draft").write_bytes(b"half")
    plugin = MilepostCheckpointIO(durability="process", background=background)
    plugin.save_checkpoint(content(), tmp_path / "a.ckpt")
    plugin.teardown()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.ckpt.01234567.draft", "a.ckpt"]


def test_a_file_that_cannot_be_removed_is_named(plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin.save_checkpoint(content(), tmp_path / "a.ckpt")
    plugin.wait()

    def refuse(self: Any, path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("milepost.archive.FileSystem.unlink", refuse)
    with pytest.raises(CommitError, match=r"could not remove '.*a.ckpt': Permission denied"):
        plugin.remove_checkpoint(tmp_path / "a.ckpt")


def test_after_loading_without_the_callback_the_files_run_goes_on(tmp_path: Path) -> None:
    first = MilepostCheckpointIO(background=False)
    first.save_checkpoint(content(), tmp_path / "a.ckpt")
    second = MilepostCheckpointIO(background=False)
    second.load_checkpoint(tmp_path / "a.ckpt")
    assert second.run_id == first.run_id
    second.save_checkpoint(content(2), tmp_path / "b.ckpt")
    second.remove_checkpoint(tmp_path / "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["b.ckpt"]


def test_between_runs_and_for_a_requeued_job_a_save_returns_when_it_is_committed(plugin: Any, tmp_path: Path) -> None:
    plugin.save_checkpoint(content(), tmp_path / "hpc_ckpt_1.ckpt")
    assert (tmp_path / "hpc_ckpt_1.ckpt").exists()
    plugin.teardown()
    plugin.save_checkpoint(content(), tmp_path / "final.ckpt")
    assert (tmp_path / "final.ckpt").exists()
    plugin.begin_run("mine", dict)
    assert plugin.run_id == "mine"


def test_a_save_inside_a_save_is_committed_at_once(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handing_over = MilepostCheckpointIO._hand_over

    def interrupted(self: Any, path: Path, checkpoint: Any) -> None:
        self.save_checkpoint(content(9), tmp_path / "handler.ckpt")
        assert (tmp_path / "handler.ckpt").exists()
        handing_over(self, path, checkpoint)

    monkeypatch.setattr(MilepostCheckpointIO, "_hand_over", interrupted)
    plugin.save_checkpoint(content(1), tmp_path / "outer.ckpt")
    plugin.wait()
    assert plugin.load_checkpoint(tmp_path / "outer.ckpt")["global_step"] == 1


def test_best_is_found_by_a_trainer_after_its_fit(
    tmp_path: Path, tiny: Any, make_loader: Any, make_trainer: Any
) -> None:
    best = ModelCheckpoint(dirpath=tmp_path, monitor="val_loss", save_last=True)
    trainer = make_trainer(tmp_path, epochs=3, callbacks=(ExactResume(), best))
    trainer.fit(tiny(), make_loader(), make_loader(shuffle=False))
    found = trainer.validate(ckpt_path="best", dataloaders=make_loader(shuffle=False), verbose=False)
    assert found[0]["val_loss"] == pytest.approx(float(best.best_model_score))
    with load_checkpoint(best.best_model_path) as checkpoint:
        assert checkpoint.record.metrics["val_loss"] == pytest.approx(float(best.best_model_score))
    assert (tmp_path / "last.ckpt").exists()


def test_a_value_without_a_plain_form_stops_the_save_itself(plugin: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsavableError, match=r"checkpoint\['mine'\]\[0\]"):
        plugin.save_checkpoint(content(run=object()), tmp_path / "a.ckpt")  # type: ignore[arg-type]
    plugin.save_checkpoint(content(), tmp_path / "b.ckpt")
    plugin.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["b.ckpt"]


def test_a_file_of_lightnings_own_is_refused_with_the_command_that_converts_it(plugin: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(content(), path)
    with pytest.raises(
        NotAnArchiveError, match=r"convert it: milepost convert '.*last.ckpt' -o '.*last.milepost.ckpt'"
    ):
        plugin.load_checkpoint(path)


def test_a_checkpoint_that_no_trainer_saved_is_refused(plugin: Any, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.ckpt", {"model": {}, "ema": {}}, durability="process")
    with pytest.raises(NotAnArchiveError, match="found one with the components ema, model"):
        plugin.load_checkpoint(tmp_path / "a.ckpt")
    write_archive(tmp_path / "b.zip", kind="package", components={}, durability="process")
    with pytest.raises(NotAnArchiveError, match="expected kind 'checkpoint', found 'package'"):
        plugin.load_checkpoint(tmp_path / "b.zip")


def test_a_newer_version_is_refused(plugin: Any, tmp_path: Path) -> None:
    record = CheckpointRecord("r", versions={"lightning": lightning_contents.VERSION + 1})
    save_checkpoint(tmp_path / "a.ckpt", {"lightning": {}}, record=record, durability="process")
    with pytest.raises(
        UnsupportedVersionError, match=r"versions\.lightning is 2, expected at most 1: install milepost"
    ):
        plugin.load_checkpoint(tmp_path / "a.ckpt")


def test_damage_is_seen_on_loading(plugin: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    plugin.save_checkpoint(content(step=3), path)
    plugin.wait()
    written = bytearray(path.read_bytes())
    weight = bytes(torch.full((2, 2), 3.0).numpy().tobytes())
    written[written.index(weight)] ^= 1
    path.write_bytes(written)
    with pytest.raises(DamagedArchiveError, match=r"layer\.weight"):
        plugin.load_checkpoint(path)


def test_an_absent_file_is_a_file_not_found(plugin: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        plugin.load_checkpoint(tmp_path / "absent.ckpt")


def test_tensors_come_where_map_location_says(plugin: Any, tmp_path: Path) -> None:
    plugin.save_checkpoint(content(), tmp_path / "a.ckpt")
    for place, kind in ((None, "cpu"), ("meta", "meta")):
        found = plugin.load_checkpoint(tmp_path / "a.ckpt", map_location=place, weights_only=True)
        assert found["state_dict"]["layer.weight"].device.type == kind


def test_a_process_that_ends_without_a_teardown_is_told(
    plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(monkeypatch, "a.ckpt")
    plugin.save_checkpoint(content(), tmp_path / "a.ckpt")
    assert plugin._finalizer.atexit
    with pytest.raises(CommitError, match="No space left"):
        plugin._finalizer()


def test_what_cannot_be_done_is_said(plugin: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"expected no storage_options, found \{\}"):
        plugin.save_checkpoint(content(), tmp_path / "a.ckpt", storage_options={})
    with pytest.raises(ValueError, match=r"'s3://bucket/a.ckpt' .* expected a local path, found a URL"):
        plugin.save_checkpoint(content(), "s3://bucket/a.ckpt")
    with pytest.raises(ValueError, match=r"expected a durability of \('power', 'process'\), found 'fire'"):
        MilepostCheckpointIO(durability="fire")  # type: ignore[arg-type]
