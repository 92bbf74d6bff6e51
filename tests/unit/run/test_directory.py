"""One run, one directory: never shared in silence, found again by what it is, ordered by when it began."""

import dataclasses
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from milepost.archive import FileSystem
from milepost.errors import DataError, DivergedError, ResumeError
from milepost.run import directory as module
from milepost.run.directory import find_runs, new_run, open_run, step_of
from milepost.run.locking import OWNER, RunLock
from milepost.run.owner import owner_text, this_process
from milepost.run.record import BestValue, RunRecord, SavedCheckpoint

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def started():
    """Start runs whose locks are given back at the end."""
    runs = []

    def start(*arguments, **keywords):
        runs.append(new_run(*arguments, **keywords))
        return runs[-1]

    yield start
    for run in runs:
        run.release()


def test_a_run_gets_the_directory_of_its_time(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    assert run.path == tmp_path / "2026-01-31" / "12-00-00"
    assert run.checkpoints.is_dir()
    assert open_run(run.path).record == run.record


def test_two_runs_of_one_second_do_not_mix(tmp_path, started):
    first, second = started(tmp_path, "x", NOON), started(tmp_path, "x", NOON)
    assert second.path.name == "12-00-00-2"
    assert first.record.run_id != second.record.run_id


def test_a_second_process_is_refused(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    run.acquire()
    with pytest.raises(ResumeError, match=f"another process is training it: process {os.getpid()} on host"):
        open_run(run.path).acquire()


def test_a_new_run_is_locked_before_anyone_can_find_it(tmp_path, monkeypatch, started):
    found = []
    written = module.write_text

    def look_first(path, text):
        found.append((path.parent / OWNER).exists() and not path.exists())
        written(path, text)

    monkeypatch.setattr(module, "write_text", look_first)
    started(tmp_path, "x", NOON)
    assert found == [True]


def test_what_is_no_run_is_passed_over(tmp_path, started):
    started(tmp_path, "x", NOON)
    broken = tmp_path / "2026-01-31" / "13-00-00"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    assert [run.path.name for run in find_runs(tmp_path)] == ["12-00-00"]
    assert open_run(tmp_path) is None


def test_how_a_run_stands_is_written_down(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    run.update("stopped", 7, "SIGTERM")
    found = open_run(run.path).record
    assert (found.state, found.step, found.note) == ("stopped", 7, "SIGTERM")


def test_a_clock_that_is_set_back_does_not_change_the_order(tmp_path, started):
    times = (NOON, NOON - timedelta(days=30), NOON + timedelta(days=30), NOON - timedelta(days=60))
    runs = [started(tmp_path, "x", time) for time in times]
    assert [run.record.ordinal for run in runs] == [1, 2, 3, 4]
    assert [run.path for run in find_runs(tmp_path)] == [run.path for run in runs]


def test_runs_without_a_number_come_first_by_their_times(tmp_path, started):
    old = [started(tmp_path, "x", NOON + timedelta(hours=hours)) for hours in (2, 1, 3)]
    for run in old:
        run.record = dataclasses.replace(run.record, ordinal=0)
        run.update("stopped", 1)
    new = started(tmp_path, "x", NOON)
    assert new.record.ordinal == 1
    assert [run.path for run in find_runs(tmp_path)] == [old[1].path, old[0].path, old[2].path, new.path]


def test_each_folder_that_is_made_survives_a_power_cut(tmp_path, monkeypatch, started):
    synced = []
    real = FileSystem.fsync_directory
    monkeypatch.setattr(FileSystem, "fsync_directory", lambda self, folder: synced.append(folder) or real(self, folder))
    root = tmp_path / "deep" / "outputs"
    run = started(root, "x", NOON)
    made = {tmp_path / "deep", root, run.path.parent, run.path, run.checkpoints, run.path / "run.json"}
    assert {path.parent for path in made} <= set(synced)


def test_what_was_started_meanwhile_is_not_started_again(tmp_path, started):
    """Two commands with --restart auto that both found no run to continue."""
    first = started(tmp_path, "x", NOON, alone=True)
    with pytest.raises(ResumeError, match=f"could not continue the run in '{first.path}': another process"):
        started(tmp_path, "x", NOON, alone=True)
    assert len(find_runs(tmp_path)) == 1
    started(tmp_path, "other options", NOON, alone=True)
    started(tmp_path, "x", NOON)
    first.release()


def test_a_killed_run_keeps_nobody_from_starting(tmp_path, started):
    first = started(tmp_path, "x", NOON)
    first.release()
    dead = dataclasses.replace(this_process(), pid=2**22 + 1, start="1")
    (first.path / OWNER).write_text(owner_text(dead))
    assert started(tmp_path, "x", NOON, alone=True).path != first.path


def test_a_lock_of_the_folder_that_can_not_be_had_stops_no_start(tmp_path, monkeypatch, started):
    """A machine that is gone left it, on a file system without locks."""
    monkeypatch.setattr(RunLock, "attempt", lambda self, patience=0, waiting=False: None)
    assert started(tmp_path, "x", NOON).record.ordinal == 1


def test_what_a_killed_process_left_of_a_start_is_removed(tmp_path, started):
    (tmp_path / ".owner.json.0123abcd.draft").touch()
    started(tmp_path, "x", NOON)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-01-31", "lock"]


def test_each_process_has_its_share(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    run.begin(0, 100, {"torch": "2.12.0"})
    run.saved("step-00000005.ckpt", 5, 1)
    run.update("stopped", 7, "SIGTERM")
    run.begin(7, 100, {"torch": "2.13.0"}, ("torch 2.12.0 → 2.13.0",))
    run.saved("step-00000009.ckpt", 9, 1)
    first, second = open_run(run.path).record.processes
    assert (first.first_step, first.last_step, first.environment, first.changes) == (0, 7, {"torch": "2.12.0"}, ())
    assert first.ended is not None
    assert (second.first_step, second.last_step, second.ended) == (7, 9, None)
    assert second.changes == ("torch 2.12.0 → 2.13.0",)
    record = open_run(run.path).record
    assert (record.state, record.note, record.total_steps, record.epoch) == ("running", "", 100, 1)


def test_a_share_of_a_killed_process_stays_open(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    run.begin(0, 100)
    run.saved("step-00000005.ckpt", 5, 1)
    run.begin(5, 100)
    run.update("finished", 100)
    first, second = open_run(run.path).record.processes
    assert (first.last_step, first.ended) == (5, None)
    assert (second.first_step, second.last_step) == (5, 100)
    assert second.ended is not None


def test_who_never_began_does_not_end_the_share_of_another(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    run.begin(0, 100)
    run.release()
    again = open_run(run.path)
    again.update("stopped", 0, "SIGTERM")
    assert open_run(run.path).record.processes[0].ended is None


def test_a_run_whose_record_can_not_be_written_is_not_held(tmp_path, monkeypatch, started):
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        started(tmp_path, "x", NOON)
    assert not list(tmp_path.rglob(OWNER))


def test_the_last_checkpoint_and_the_best_value_are_noted(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    run.begin(0, 100)
    run.saved("step-00000005.ckpt", 5, 1, BestValue("validation/loss", 0.25, 5))
    run.saved("step-00000007.ckpt", 7, 1, BestValue("validation/loss", 0.25))
    record = open_run(run.path).record
    assert record.best == BestValue("validation/loss", 0.25, 5), "its step is known already"
    assert isinstance(record.last_checkpoint, SavedCheckpoint)
    assert (record.last_checkpoint.name, record.last_checkpoint.step) == ("step-00000007.ckpt", 7)


def test_the_step_of_an_unknown_best_value_is_looked_up(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    value = 0.123456789012
    rows = ["step,epoch,training/loss,validation/loss", "2,1,9,0.5", f"4,2,9,{value:.9g}", f"6,3,9,{value:.9g}"]
    run.metrics.write_text("\n".join(rows) + "\n")
    run.saved("step-00000007.ckpt", 7, 1, BestValue("validation/loss", value))
    assert open_run(run.path).record.best == BestValue("validation/loss", value, 4)
    assert step_of(run.metrics, BestValue("validation/loss", value), 3) is None, "rows of later steps count not"
    assert step_of(run.metrics, BestValue("validation/loss", 0.7), 9) is None
    assert step_of(run.metrics, BestValue("training/loss", 9.0), 9) == 2


@pytest.mark.parametrize("content", [None, b"", b"step\n\xff", b"step,x\n1\n", b"a,b\n1,2\n"])
def test_metrics_that_can_not_be_read_tell_no_step(tmp_path, content):
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_bytes(content)
    assert step_of(path, BestValue("x", 1.0), 9) is None


def test_a_failure_is_noted_with_the_first_line_of_its_error(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    with pytest.raises(DataError), run:
        raise DataError("could not read 'a':\nexpected this, found that")
    record = open_run(run.path).record
    assert (record.state, record.note) == ("failed", "could not read 'a':")
    again = open_run(run.path)
    with again:
        assert again._lock.held
    assert not again._lock.held


def test_an_error_without_words_has_a_name(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    with pytest.raises(MemoryError), run:
        raise MemoryError
    assert open_run(run.path).record.note == "MemoryError"


def test_a_process_that_never_began_does_not_change_how_the_run_stands(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    run.begin(0, 10)
    run.update("stopped", 5, "SIGTERM")
    run.release()
    again = open_run(run.path)
    with pytest.raises(ResumeError), again:
        raise ResumeError("the data are others")
    record = open_run(run.path).record
    assert (record.state, record.step, record.note) == ("stopped", 5, "SIGTERM")


def test_what_was_noted_of_a_failure_is_not_noted_again(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    run.begin(0, 10)
    run.update("failed", 5, "diverged at step 5")
    with pytest.raises(DivergedError), run:
        raise DivergedError("something else")
    assert open_run(run.path).record.note == "diverged at step 5"


def test_a_full_disk_does_not_hide_the_error(tmp_path, monkeypatch, started):
    run = started(tmp_path, "x", NOON)

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_text", full)
    with pytest.raises(DataError), run:
        raise DataError("this")
    assert not run._lock.held


def test_the_record_is_read_again_once_the_lock_is_there(tmp_path, started):
    run = started(tmp_path, "x", NOON)
    seen = open_run(run.path)
    run.update("stopped", 9)
    run.release()
    assert seen.record.step == 0
    with seen:
        assert seen.record.step == 9


def test_a_run_can_be_moved(tmp_path, started):
    run = started(tmp_path / "a", "x", NOON)
    run.release()
    run.path.rename(tmp_path / "moved")
    assert open_run(tmp_path / "moved").record == run.record
    assert isinstance(run.record, RunRecord)
    assert str(tmp_path) not in (tmp_path / "moved" / "run.json").read_text()
