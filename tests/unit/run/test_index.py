"""What runs are doing, judged from their files alone, without changing or locking anything."""

import dataclasses
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from milepost.run import index
from milepost.run.directory import RunDirectory, new_run
from milepost.run.index import Beat, find_paths, last_metrics, list_runs, look, seconds_since
from milepost.run.locking import OWNER
from milepost.run.owner import owner_text, this_process
from milepost.run.record import read_record, record_text

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
DEAD = {"pid": 2**22 + 1, "start": "1"}
ELSEWHERE = {"host": "n042", "boot": "another", "pid": 4711}


@pytest.fixture
def run(tmp_path: Path):
    """Give a run that this process trains."""
    directory = new_run(tmp_path / "outputs", "x", NOON)
    directory.begin(0, 100)
    yield directory
    directory.release()


def leave(run: RunDirectory, **owner) -> None:
    """Leave a run as another process does: with its record, or without one."""
    run.release()
    if owner:
        (run.path / OWNER).write_text(owner_text(dataclasses.replace(this_process(), **owner)))


def beat(run: RunDirectory, age: float = 0.0, **fields) -> None:
    run.progress.write_text(json.dumps({"phase": "training", "step": 42, **fields}))
    os.utime(run.progress, (time.time() - age,) * 2)


def test_a_run_whose_process_lives_is_running(run) -> None:
    beat(run)
    found = look(run.path)
    assert (found.condition, found.step, found.total, found.silent) == ("running", 42, 100, None)
    assert found.owner.pid == os.getpid()
    assert found.ended is None


def test_a_run_that_nobody_holds_is_killed_and_is_not_told_so(run) -> None:
    beat(run)
    run.saved("step-00000040.ckpt", 40, 1)
    leave(run)
    found = look(run.path)
    assert (found.condition, found.step) == ("killed", 40), "what is kept counts, not what was reached"
    assert read_record(run.path / "run.json").state == "running"


def test_a_run_whose_process_is_dead_is_killed(run) -> None:
    leave(run, **DEAD)
    assert look(run.path).condition == "killed"


@pytest.mark.parametrize("state", ["stopped", "finished", "failed"])
def test_how_a_run_ended_is_told(run, state) -> None:
    run.update(state, 50, "why")
    leave(run)
    found = look(run.path)
    assert (found.condition, found.step, found.record.note) == (state, 50, "why")
    assert found.ended is not None


def test_a_run_that_is_continued_just_now_is_running(run) -> None:
    run.update("stopped", 50, "SIGTERM")
    assert look(run.path).condition == "running"


def test_a_finished_run_is_finished_while_its_process_still_ends(run) -> None:
    run.update("finished", 100)
    assert look(run.path).condition == "finished"


@pytest.mark.parametrize("owner", [{}, ELSEWHERE], ids=["here", "elsewhere"])
def test_a_run_without_a_sign_of_life_is_silent(run, owner) -> None:
    if owner:
        leave(run, **owner)
    beat(run, age=200)
    found = look(run.path)
    assert found.condition == "running"
    assert 199 < found.silent < 260
    beat(run)
    assert look(run.path).silent is None
    beat(run, age=-500)
    assert look(run.path).silent is None, "a clock that is behind makes nothing silent"


def test_a_run_that_ended_is_not_silent(run) -> None:
    beat(run, age=200)
    run.update("stopped", 50)
    leave(run)
    assert look(run.path).silent is None


def test_what_was_read_belongs_together(run, monkeypatch) -> None:
    """The process ends between the look at its owner and the look at its record."""
    real, calls = index.read_record, []

    def ending(path):
        calls.append(path)
        if len(calls) == 1:
            found = real(path)
            run.update("finished", 100)
            run.release()
            return found
        return real(path)

    monkeypatch.setattr(index, "read_record", ending)
    assert look(run.path).condition == "finished"
    assert len(calls) == 2


def test_looking_changes_and_locks_nothing(run) -> None:
    beat(run)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.path.rglob("*") if path.is_file()}
    list_runs([run.path.parents[2]])
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.path.rglob("*") if path.is_file()}
    assert after == before
    leave(run)
    for path in run.path.iterdir():
        path.chmod(0o500 if path.is_dir() else 0o400)
    assert list_runs([run.path.parents[2]])[0].condition == "killed"


def test_the_last_checkpoint_is_named_while_it_is_there(run) -> None:
    assert look(run.path).last_checkpoint is None
    run.saved("step-00000040.ckpt", 40, 1)
    assert look(run.path).last_checkpoint is None
    (run.checkpoints / "step-00000040.ckpt").touch()
    assert look(run.path).last_checkpoint == "step-00000040.ckpt"


def test_of_an_old_run_names_tell_the_last_checkpoint(run) -> None:
    for step in (5, 40, 9):
        (run.checkpoints / f"step-{step:08d}.ckpt").touch()
    (run.path / "run.json").write_text(record_text(dataclasses.replace(run.record, last_checkpoint=None)))
    assert look(run.path).last_checkpoint == "step-00000040.ckpt"


def test_runs_are_found_from_every_height(tmp_path: Path, monkeypatch) -> None:
    directory = new_run(tmp_path / "study" / "outputs", "x", NOON)
    directory.release()
    path = directory.path
    for folder in (path, path.parent, path.parents[1], path.parents[2], path.parents[3]):
        assert [found.samefile(path) for found in find_paths(folder)] == [True], folder
    monkeypatch.chdir(tmp_path / "study")
    assert find_paths(Path()) == [Path("outputs/2026-01-31/12-00-00")]
    assert find_paths(path / "checkpoints") == []


def test_the_newest_is_last_whatever_the_clock_said(tmp_path: Path) -> None:
    runs = [new_run(tmp_path / "outputs", "x", NOON - timedelta(days=days)) for days in (0, 9, 5)]
    other = new_run(tmp_path / "other" / "outputs", "x", NOON - timedelta(days=1))
    for run in (*runs, other):
        run.release()
    found = [run.path for run in list_runs([tmp_path, tmp_path / "other"])]
    assert [path for path in found if path != other.path] == [run.path for run in runs]
    assert found.count(other.path) == 1


def test_no_run_is_none(tmp_path: Path) -> None:
    assert look(tmp_path) is None
    assert list_runs([tmp_path, tmp_path / "none"]) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_heartbeat_that_can_not_be_read_is_none(run, content) -> None:
    run.progress.write_bytes(content)
    assert look(run.path).beat is None


@pytest.mark.parametrize("value", ["1", None, True, [1]])
def test_a_figure_that_is_no_number_is_none(run, value) -> None:
    beat(run, loss=value, step=value)
    found = look(run.path)
    assert found.beat.number("loss") is None
    assert found.step == 0


def test_an_age_is_never_negative() -> None:
    assert Beat({}, 100.0).age(90.0) == 0.0
    assert Beat({}, 100.0).age(190.0) == 90.0
    assert seconds_since("2999-01-01") == 0.0
    assert seconds_since("yesterday") is None
    assert seconds_since(datetime.now(UTC).isoformat()) < 60


def test_the_last_whole_row_of_the_metrics_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert last_metrics(path) == {}
    path.write_text("step,loss,extra\n")
    assert last_metrics(path) == {}
    path.write_text("step,loss,extra\n1,0.5,\n2,0.25,x\n3,0.1")
    assert last_metrics(path) == {"step": 2.0, "loss": 0.25}


def test_of_long_metrics_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n" + "".join(f"{step},0.{step}\n" for step in range(50_000)))
    assert path.stat().st_size > index._TAIL
    assert last_metrics(path) == {"step": 49_999.0, "loss": 0.49999}
