"""`milepost watch` follows a run by its files, ends as it ends, and leaves the terminal as it was."""

import codecs
import dataclasses
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from milepost.cli import watch
from milepost.run.directory import RunDirectory, new_run
from milepost.run.locking import OWNER
from milepost.run.owner import owner_text, this_process

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
FIGURES = {"loss": 0.5, "learning_rate": 1e-3, "steps_per_second": 2.5, "seconds_left": 61.0}
COMMAND = [sys.executable, "-c", "from milepost.cli import main; main()", "watch"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch):
    """Give a run that this process trains, and go to its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "EVERY", 0.02)
    directory = new_run(Path("outputs"), "x", NOON)
    directory.begin(0, 200)
    beat(directory, 42)
    yield directory
    directory.release()


def beat(run: RunDirectory, step: int, **fields) -> None:
    run.progress.write_text(json.dumps({"phase": "training", "step": step, **FIGURES, **fields}))


@pytest.fixture
def between_looks(monkeypatch):
    """Do one thing after another, each between two looks at the run."""

    def plan(*actions: Callable[[], object]) -> None:
        left = iter(actions)

        def act(seconds: float) -> None:
            next(left, lambda: None)()

        monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=act, monotonic=time.monotonic))

    return plan


def test_once_says_how_a_run_stands(milepost, run) -> None:
    ended = milepost("watch", "--once", run.path)
    assert ended.status == 0
    assert ended.out == (
        "outputs/2026-01-31/12-00-00: running  step 42/200 (21 %)  loss 0.5  learning rate 0.001  2.5 steps/s  "
        "[0:01:01 left]  training\n"
    )


@pytest.mark.parametrize(("state", "status"), [("finished", 0), ("stopped", 75), ("failed", 1), ("running", 1)])
@pytest.mark.parametrize("once", [["--once"], []], ids=["once", "followed"])
def test_the_status_is_that_of_the_run(milepost, run, state, status, once) -> None:
    run.update(state, 50, "why")
    run.release()
    ended = milepost("watch", *once)
    assert ended.status == status
    shown = (
        "killed  step 50/200 (25 %)  its process is gone" if state == "running" else f"{state}  step 50/200 (25 %)  why"
    )
    assert ended.out.splitlines()[-1] == f"outputs/2026-01-31/12-00-00: {shown}"


def test_a_run_is_followed_to_its_end(milepost, run, between_looks) -> None:
    between_looks(
        lambda: run.metrics.write_text("step,epoch,validation/loss\n50,1,0.25\n"),
        lambda: beat(run, 100, phase="evaluating"),
        lambda: run.update("stopped", 100, "SIGTERM"),
        run.release,
    )
    ended = milepost("watch", "outputs")
    assert ended.status == 75
    lines = ended.out.splitlines()
    assert lines[0].startswith("outputs/2026-01-31/12-00-00: running  step 42/200")
    assert "step 50  epoch 1  validation/loss 0.25" in lines
    assert lines[-1] == "outputs/2026-01-31/12-00-00: stopped  step 100/200 (50 %)  SIGTERM"


def test_the_newest_run_of_a_folder_is_taken(milepost, run) -> None:
    new_run(Path("outputs"), "x", datetime(2020, 1, 1, tzinfo=UTC)).release()
    assert milepost("watch", "--once").out.startswith("outputs/2020-01-01/00-00-00: killed")


def test_nothing_to_watch(milepost, tmp_path: Path) -> None:
    ended = milepost("watch", tmp_path)
    assert ended.status == 2
    assert f"expected a run in or below '{tmp_path}', found none" in " ".join(ended.err.split())
    ended = milepost("watch", tmp_path / "none")
    assert ended.status == 1
    assert f"could not use '{tmp_path}/none': No such file or directory" in ended.err


def test_a_silent_run_is_said_to_be_and_followed_on(milepost, run, between_looks) -> None:
    os.utime(run.progress, (1, 1))
    run.release()
    elsewhere = dataclasses.replace(this_process(), host="n042", boot="another", pid=4711)
    (run.path / OWNER).write_text(owner_text(elsewhere))
    between_looks(lambda: beat(run, 43), lambda: run.update("finished", 200))
    ended = milepost("watch")
    assert ended.status == 0
    assert "training, silent for " in ended.out.splitlines()[0]
    assert "silent" not in ended.out.splitlines()[1]


def test_silence_is_measured_by_the_clock_of_the_one_who_looks(run, monkeypatch) -> None:
    """The clock of the files is a day ahead, so that it tells nothing."""
    os.utime(run.progress, (time.time() + 86400,) * 2)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    follower = watch.Follower(watch.newest(Path()))
    follower.look()
    assert follower.run.silent is None
    now[0] += 100
    follower.look()
    assert follower.run.silent == 100
    beat(run, 43)
    os.utime(run.progress, (time.time() + 86401,) * 2)
    follower.look()
    assert follower.run.silent is None


def test_a_run_is_killed_when_it_is_seen_twice(run) -> None:
    follower = watch.Follower(watch.newest(Path()))
    run.release()
    follower.look()
    assert not follower.over()
    run.acquire()
    follower.look()
    assert not follower.over(), "it was a restart"
    run.release()
    follower.look()
    follower.look()
    assert follower.over()


def test_a_folder_that_vanishes_keeps_the_last_look(run) -> None:
    follower = watch.Follower(watch.newest(Path()))
    (run.path / "run.json").rename("run.json")
    follower.look()
    assert follower.run.condition == "running"


def test_files_that_can_not_be_read_for_a_while_end_nothing(run) -> None:
    follower = watch.Follower(watch.newest(Path()))
    kept = (run.path / "run.json").rename("run.json")
    (run.path / "run.json").mkdir()
    follower.look()
    assert follower.run.condition == "running"
    (run.path / "run.json").rmdir()
    kept.rename(run.path / "run.json")
    run.update("finished", 200)
    follower.look()
    assert follower.over()


def read_all(descriptor: int, until: str | None = None) -> str:
    """Read from a terminal until a text comes, or it is closed."""
    text, decoder = "", codecs.getincrementaldecoder("utf-8")()
    while until is None or until not in text:
        try:
            text += decoder.decode(os.read(descriptor, 65536))
        except OSError:
            break
    return text


@pytest.mark.parametrize("interrupted", [True, False])
def test_on_a_terminal_there_is_a_bar_and_nothing_of_it_stays(run, interrupted: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "150"}
    run.metrics.write_text("step,epoch,validation/loss\n50,1,0.25\n")
    with subprocess.Popen(COMMAND, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        try:
            text = read_all(ours, until="42/200")
            if interrupted:
                process.send_signal(signal.SIGINT)
            else:
                run.update("finished", 200)
            text += read_all(ours)
            process.wait(60)
        finally:
            process.kill()
    os.close(ours)
    assert process.returncode == (130 if interrupted else 0), text
    assert "loss 0.5" in text
    assert "step 50  epoch 1  validation/loss 0.25" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l"), "the cursor is shown again"
    assert "Traceback" not in text


def test_a_run_is_watched_without_torch(run) -> None:
    program = (
        "import sys\n"
        "from milepost.cli import main\n"
        "try:\n"
        "    main(['watch', '--once'])\n"
        "except SystemExit as ending:\n"
        "    print(ending.code, 'torch' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "0 False"
