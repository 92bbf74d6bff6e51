"""A run whose time is up stops as one that gets a signal: it saves, leaves with 75, and goes on to the same bits.

The command is the real one. Its clock runs faster: each step takes ten seconds more of it, and nobody waits.
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle import toy
from lifecycle.runs import differing, training_state
from milepost.cli import main
from milepost.cli.time_limit import END_OF_JOB
from milepost.run import Reporter
from milepost.run.deadline import Deadline

STEP = 10.0
LIMIT = 600
COMMAND = ("train", "options.yaml", "--restart", "auto", "--no-export")
LONG = {
    "training": {"epochs": 20, "evaluate_every_epochs": 5},
    "checkpoints": {"every_steps": 50, "every_epochs": None},
}
"""120 steps: twice as many as the limit has time for."""


class FastClock:
    """Run ahead of the monotonic clock by as much as steps are said to take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        monkeypatch.setattr("milepost.run.deadline.Deadline", functools.partial(Deadline, clock=self))
        step = Reporter.step

        def slow(reporter: Reporter, done: int) -> None:
            self.ahead += STEP
            step(reporter, done)

        monkeypatch.setattr(Reporter, "step", slow)

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch):
    return FastClock(monkeypatch)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Call `milepost train` in a folder with a toy; return its status and what it said."""
    monkeypatch.chdir(tmp_path)
    toy.write_options(tmp_path, **LONG)

    def call(*arguments: str) -> tuple[int, str]:
        with toy.installed(tmp_path / "installed"), pytest.raises(SystemExit) as ended:
            main([*COMMAND, *arguments])
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


@pytest.fixture(scope="module")
def oracle(tmp_path_factory) -> Path:
    """Train without a limit."""
    folder = tmp_path_factory.mktemp("oracle")
    toy.write_options(folder, **LONG)
    with toy.installed(folder / "installed"):
        toy.run(folder)
    return folder


@pytest.mark.parametrize("source", ["--time-limit", END_OF_JOB])
def test_it_saves_in_time_and_goes_on_to_the_same_bits(command, clock, tmp_path, oracle, monkeypatch, source):
    began = time.monotonic()
    if source == END_OF_JOB:
        monkeypatch.setenv(END_OF_JOB, str(int(time.time()) + LIMIT))
        status, said = command()
    else:
        status, said = command("--time-limit", f"{LIMIT // 60}:00")
    assert status == 75, said
    assert f"({source}): the run saves and stops before " in said
    assert "by the time limit; continue with the same command and --restart auto" in said
    assert clock() < began + LIMIT
    steps = round(clock.ahead / STEP)
    assert f"stopped at step {steps} by" in said, "what was computed is kept"
    assert 0 < steps < 60

    monkeypatch.delenv(END_OF_JOB, raising=False)
    status, said = command()
    assert status == 0, said
    assert f"at step {steps}" in said
    assert differing(training_state(tmp_path / "model.ckpt"), training_state(oracle / "model.ckpt")) == []
    (rows,) = (path.read_text() for path in tmp_path.glob("outputs/*/*/metrics.csv"))
    assert rows == next(oracle.glob("outputs/*/*/metrics.csv")).read_text()


def test_a_limit_that_no_start_can_keep_is_an_error(command, clock):
    """With status 75 the loop of the documentation would never end."""
    clock.ahead = 1e6
    status, said = command("--time-limit", "10:00")
    assert status == 1
    assert "could not take a step within the time limit of 600 s" in said
    assert "Give a longer --time-limit." in said


def test_a_job_that_ends_too_soon_leaves_the_steps_to_the_next_one(command, clock, monkeypatch):
    clock.ahead = 1e6
    monkeypatch.setenv(END_OF_JOB, str(int(time.time()) + LIMIT))
    status, said = command()
    assert status == 75
    assert "stopped at step 0 by the time limit" in said


def test_a_job_that_was_prolonged_has_no_known_end(command, monkeypatch):
    monkeypatch.setenv(END_OF_JOB, str(int(time.time()) - 5))
    status, said = command("-r", "architecture.training.epochs=1")
    assert status == 0, said
    assert "time limit" not in said
