"""Runs that are trained side by side in one folder, begun in the same instant, never mix; nor does a look at them.

Real processes, forked from one that has imported everything; the oracle is a run that is alone in its folder.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from lifecycle import toy
from lifecycle.runs import differing, training_state
from milepost.checkpoint import list_checkpoints
from milepost.run.directory import find_runs
from milepost.run.index import list_runs

STARTER = """
import json, os, sys
import lifecycle.toy, milepost.run.training, rich.console, torch._dynamo
from milepost.cli import main
for line in sys.stdin:
    folder, jobs = json.loads(line)
    waiting, gate = os.pipe()
    children = []
    for number, arguments in enumerate(jobs):
        child = os.fork()
        if child == 0:
            os.close(gate)
            os.chdir(folder)
            said = os.open(f"said-{number}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 2)
            os.read(waiting, 1)  # until the gate is closed
            try:
                main(arguments)
            except SystemExit as ended:
                os._exit(int(ended.code or 0))
            finally:
                os._exit(99)
        children.append(child)
    print(json.dumps(children), flush=True)
    os.close(waiting)
    os.close(gate)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""
TRAIN = ("train", "options.yaml", "--no-export")


@dataclass(frozen=True)
class Ended:
    """Hold how a process ended and what it said."""

    pid: int
    status: int
    said: str


Start = Callable[..., list[Ended]]


@pytest.fixture(scope="module")
def at_once(tmp_path_factory) -> Iterator[Start]:
    """Give what runs `milepost` with several lists of arguments, all begun in one instant, and does something again
    and again meanwhile.
    """
    environment = toy.environment(tmp_path_factory.mktemp("site"))
    command = [sys.executable, "-c", STARTER]
    # Unbuffered: a line that was read ahead would be none that `select` knows of.
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as starter:
        stdin, stdout = starter.stdin, starter.stdout
        assert stdin is not None
        assert stdout is not None

        def start(
            folder: Path, *jobs: Sequence[str], meanwhile: Callable[[list[int]], object] | None = None
        ) -> list[Ended]:
            stdin.write(f"{json.dumps([str(folder), jobs])}\n".encode())
            pids = json.loads(stdout.readline())
            while meanwhile is not None and not select.select([stdout], [], [], 0.05)[0]:
                meanwhile(pids)
            statuses = json.loads(stdout.readline())
            said = [(folder / f"said-{number}").read_text() for number in range(len(jobs))]
            return [Ended(*each) for each in zip(pids, statuses, said, strict=True)]

        yield start
        stdin.close()


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict[int, Path]:
    """Train alone, for two seeds; return their folders."""
    folders = {}
    for seed in (1, 2):
        folder = folders[seed] = tmp_path_factory.mktemp(f"alone-{seed}")
        toy.write_options(folder, seed=seed, seconds=0.01)
        with toy.installed(folder / "site"):
            assert toy.run(folder, restart=None).outcome == "finished"
    return folders


def assert_as_alone(directory: Path, model: Path, oracle: Path) -> None:
    """Compare a run with the one that was alone: model, last checkpoint and log."""
    (other,) = oracle.glob("outputs/*/*/")
    assert differing(training_state(model), training_state(oracle / "model.ckpt")) == []
    last, expected = (max((path / "checkpoints").glob("*.ckpt")) for path in (directory, other))
    assert last.name == expected.name
    assert differing(training_state(last), training_state(expected)) == []
    assert (directory / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()


def test_runs_that_begin_in_one_instant_do_not_mix(tmp_path: Path, alone, at_once: Start) -> None:
    """Two with the same options, two with others; all the while somebody lists them."""
    toy.write_options(tmp_path, seconds=0.01)
    seeds = (1, 2, 1, 2)
    jobs = [(*TRAIN, "-r", f"seed={seed}", "-o", f"model-{n}.ckpt") for n, seed in enumerate(seeds)]
    seen: set[str] = set()
    ended = at_once(tmp_path, *jobs, meanwhile=lambda pids: seen.update(r.condition for r in list_runs([tmp_path])))
    assert [each.status for each in ended] == [0] * 4, ended
    runs = find_runs(tmp_path / "outputs")
    assert [run.record.ordinal for run in runs] == [1, 2, 3, 4]
    assert len({run.record.run_id for run in runs}) == 4
    for number, seed in enumerate(seeds):
        (directory,) = (run.path for run in runs if f"run: {run.path.relative_to(tmp_path)}\n" in ended[number].said)
        assert_as_alone(directory, tmp_path / f"model-{number}.ckpt", alone[seed])
    for run in runs:
        assert {entry.run_id for entry in list_checkpoints(run.checkpoints)} == {run.record.run_id}
        assert sorted(path.name for path in run.path.iterdir()) == [
            "checkpoints", "errors.json", "lock", "metrics.csv", "options.yaml", "progress.json", "run.json",
        ]  # fmt: skip
    assert seen <= {"running", "finished"}
    assert "running" in seen


def test_the_same_command_at_once_trains_one_run_once(tmp_path: Path, alone, at_once: Start) -> None:
    """Each asks for the unfinished run, or a new one: one gets it, the others learn who has it."""
    toy.write_options(tmp_path, seed=1, seconds=0.01)
    ended = at_once(tmp_path, *[(*TRAIN, "--restart", "auto")] * 3)
    first = [each for each in ended if "starting afresh" in each.said and each.status == 0]
    assert len(first) == 1, ended
    for each in ended:
        refused = f"another process is training it: process {first[0].pid} on host" in each.said and each.status == 1
        late = "is finished: going on from its end" in each.said and each.status == 0
        assert each is first[0] or refused or late, each
    (run,) = find_runs(tmp_path / "outputs")
    assert_as_alone(run.path, tmp_path / "model.ckpt", alone[1])


class StopAt(toy.Log):
    """Ask to stop when a step is done, and look around before."""

    def __init__(self, step: int, look: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.at, self.look = step, look

    def step(self, done: int) -> None:
        if done == self.at:
            if self.look is not None:
                self.look()
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_clock_that_was_set_back_does_not_make_an_older_run_the_newest(tmp_path: Path, monkeypatch) -> None:
    toy.write_options(tmp_path)
    with toy.installed(tmp_path / "site"):
        older = toy.run(tmp_path, reporter=StopAt(9), restart=None)

        class SetBack(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> "SetBack":
                return cls(2020, 1, 1, tzinfo=tz)

        monkeypatch.setattr("milepost.run.directory.datetime", SetBack)
        newer = toy.run(tmp_path, reporter=StopAt(5), restart=None)
        monkeypatch.undo()
        assert newer.directory.parent.name < older.directory.parent.name
        assert [run.path for run in list_runs([tmp_path])] == [older.directory, newer.directory]
        continued = toy.run(tmp_path)
    assert continued.directory == newer.directory


def test_runs_that_differ_in_their_length_alone_are_each_continued_by_their_own_command(tmp_path: Path) -> None:
    """One whose length is to change is continued where there is none of that length."""
    longer, longest = "architecture.training.epochs=4", "architecture.training.epochs=5"
    toy.write_options(tmp_path)
    with toy.installed(tmp_path / "site"):
        first = toy.run(tmp_path, longer, reporter=StopAt(5), restart=None)
        second = toy.run(tmp_path, reporter=StopAt(9), restart=None)
        again = toy.run(tmp_path, longer, reporter=StopAt(7))
        assert (again.directory, again.outcome) == (first.directory, "stopped")
        other = toy.run(tmp_path, longest, reporter=StopAt(11))
        assert other.directory == second.directory, "the newest of those that may become it"
        assert toy.run(tmp_path, longer).directory == first.directory


def test_the_name_of_the_host_is_in_no_file_that_stays(tmp_path: Path, monkeypatch) -> None:
    name = "host-of-the-tests"
    monkeypatch.setattr("platform.node", lambda: name)

    def holders() -> list[str]:
        return sorted(
            path.name for path in tmp_path.rglob("*") if path.is_file() and name.encode() in path.read_bytes()
        )

    during: list[str] = []
    toy.write_options(tmp_path)
    with toy.installed(tmp_path / "site"):
        assert toy.run(tmp_path, reporter=StopAt(7, lambda: during.extend(holders()))).outcome == "stopped"
        assert during == ["owner.json"]
        assert holders() == []
        assert toy.run(tmp_path).outcome == "finished"
    assert holders() == []


def test_a_killed_run_is_listed_as_killed_and_its_lock_is_free(tmp_path: Path, alone, at_once: Start) -> None:
    toy.write_options(tmp_path, seed=1, seconds=0.1)
    killed: list[int] = []

    def kill(pids: list[int]) -> None:
        found = list_runs([tmp_path])
        if not killed and found and found[0].record.step >= 4:
            assert found[0].condition == "running"
            assert found[0].owner.pid == pids[0]
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])

    (ended,) = at_once(tmp_path, (*TRAIN, "--restart", "auto"), meanwhile=kill)
    assert ended.status == -signal.SIGKILL
    (run,) = list_runs([tmp_path])
    assert (run.condition, run.record.state) == ("killed", "running")
    assert run.step >= 4
    (ended,) = at_once(tmp_path, (*TRAIN, "--restart", "auto"))
    assert ended.status == 0, ended.said
    (run,) = list_runs([tmp_path])
    assert run.condition == "finished"
    assert [share.ended is None for share in run.record.processes] == [True, False]
    assert run.record.processes[1].first_step >= 4
    assert_as_alone(run.path, tmp_path / "model.ckpt", alone[1])
