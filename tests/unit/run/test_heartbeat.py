"""The sign of life costs next to nothing, and nothing that keeps it from being written stops a training."""

import errno
import json
from pathlib import Path

import pytest

from milepost.run import heartbeat as module
from milepost.run.heartbeat import AFTER_FAILURE, SHARE, Heartbeat


class Clock:
    """A clock that is moved by hand; reading it takes no time."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writes(monkeypatch, clock):
    """Count the writes and let each take a time."""
    written: list[float] = []
    real = module.atomic_write

    def write(*arguments, **keywords) -> None:
        assert keywords["durability"] == "process"
        written.append(clock.now)
        clock.now += written_in[0]
        real(*arguments, **keywords)

    written_in = [0.0]
    monkeypatch.setattr(module, "atomic_write", write)
    return written, written_in


def test_it_says_how_far_the_run_is(tmp_path: Path, clock: Clock) -> None:
    heartbeat = Heartbeat(tmp_path / "progress.json", clock)
    heartbeat.begin(100, 500, lambda step: step // 40)
    for step in (101, 102, 103):
        clock.now += 2
        heartbeat.step(step, 0.5, 1e-3)
    found = json.loads((tmp_path / "progress.json").read_text())
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "phase": "training",
        "step": 103,
        "total_steps": 500,
        "epoch": 2,
        "loss": 0.5,
        "learning_rate": 1e-3,
        "steps_per_second": 0.5,
        "seconds_left": 794.0,
    }


def test_quick_steps_write_once_a_second(tmp_path: Path, clock: Clock, writes) -> None:
    heartbeat = Heartbeat(tmp_path / "progress.json", clock)
    heartbeat.begin(0, 10**6, lambda step: step // 10)
    count = len(writes[0])
    for step in range(1, 10_001):
        clock.now += 0.001
        heartbeat.step(step, 0.5, 1e-3)
    assert 9 <= len(writes[0]) - count <= 11


def test_slow_writes_are_rare(tmp_path: Path, clock: Clock, writes) -> None:
    writes[1][0] = 0.1
    heartbeat = Heartbeat(tmp_path / "progress.json", clock)
    heartbeat.begin(0, 10**6, lambda step: step // 10)
    began, count = clock.now, len(writes[0])
    for step in range(1, 2001):
        clock.now += 0.1
        heartbeat.step(step, 0.5, 1e-3)
        with heartbeat.during("evaluating"):
            pass
    spent = 0.1 * (len(writes[0]) - count)
    assert len(writes[0]) > count
    assert spent <= 1.1 * (clock.now - began) / SHARE


def test_phases_are_written(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "progress.json"
    heartbeat = Heartbeat(path, clock)

    def phase() -> str:
        return json.loads(path.read_text())["phase"]

    heartbeat.phase("reading data")
    assert phase() == "reading data"
    heartbeat.begin(0, 10, lambda step: step // 5)
    with heartbeat.during("evaluating"):
        assert phase() == "evaluating"
    assert phase() == "training"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_file_that_can_not_be_written_stops_nothing(tmp_path: Path, clock: Clock, monkeypatch, code: int) -> None:
    tried: list[float] = []

    def fail(*arguments, **keywords) -> None:
        tried.append(clock.now)
        raise OSError(code, "broken")

    monkeypatch.setattr(module, "atomic_write", fail)
    heartbeat = Heartbeat(tmp_path / "progress.json", clock)
    heartbeat.begin(0, 10, lambda step: step // 5)
    for step in range(1, 101):
        clock.now += 1
        heartbeat.step(step, 0.5, 1e-3)
    assert 2 <= len(tried) <= 2 + 100 / AFTER_FAILURE
    monkeypatch.undo()
    clock.now += AFTER_FAILURE
    heartbeat.step(101, 0.5, 1e-3)
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == 101


def test_a_loss_that_is_no_number_is_written_as_null(tmp_path: Path, clock: Clock) -> None:
    heartbeat = Heartbeat(tmp_path / "progress.json", clock)
    heartbeat.begin(0, 10, lambda step: step // 5)
    clock.now += 2
    heartbeat.step(1, float("nan"), 1e-3)
    assert json.loads((tmp_path / "progress.json").read_text())["loss"] is None


def test_nobody_is_told_without_a_file(clock: Clock, monkeypatch) -> None:
    monkeypatch.setattr(module, "atomic_write", None)
    heartbeat = Heartbeat(clock=clock)
    heartbeat.begin(0, 10, lambda step: step // 5)
    clock.now += 100
    heartbeat.step(1, 0.5, 1e-3)
    with heartbeat.during("evaluating"):
        pass
