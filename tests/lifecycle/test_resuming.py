"""Resuming changes nothing: a run stopped anywhere ends in the same bits as one that never stopped."""

import os
import signal
from pathlib import Path

import pytest

from lifecycle.runs import OPTIONS, differing, training_state, write_run
from milepost.model import find_architecture
from milepost.options import load_options
from milepost.run import Reporter, Request, train
from milepost.run.compiling import compiler_present


class StopAt(Reporter):
    """Send a signal to this process when a step is done, as a scheduler would."""

    def __init__(self, step: int | None, number: signal.Signals = signal.SIGTERM) -> None:
        super().__init__()
        self.at, self.number = step, number
        self.lines: list[str] = []

    def step(self, done: int) -> None:
        if done == self.at:
            os.kill(os.getpid(), self.number)

    def say(self, message: str) -> None:
        self.lines.append(message)


def run(folder: Path, *, restart: str | None = "auto", stop: int | None = None, overrides: tuple[str, ...] = (),
        number: signal.Signals = signal.SIGTERM):  # fmt: skip
    architecture = find_architecture("cairn")
    options = load_options(folder / "options.yaml", architecture.options_class(), overrides)
    reporter = StopAt(stop, number)
    request = Request(options, architecture, folder, folder / "model.ckpt", restart)
    return train(request, reporter), reporter.lines


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    """Train without a stop: the model, the last checkpoint and the metrics."""
    folder = tmp_path_factory.mktemp("oracle")
    write_run(folder)
    result, _ = run(folder, restart=None)
    assert result.outcome == "finished"
    last = max((result.directory / "checkpoints").glob("*.ckpt"))
    return training_state(folder / "model.ckpt"), training_state(last), (result.directory / "metrics.csv").read_text()


def assert_same(folder: Path, directory: Path, oracle) -> None:
    model, last, metrics = oracle
    assert differing(training_state(folder / "model.ckpt"), model) == []
    assert differing(training_state(max((directory / "checkpoints").glob("*.ckpt"))), last) == []
    assert (directory / "metrics.csv").read_text() == metrics


@pytest.mark.parametrize("stop", [1, 4, 7, 10, 13, 29])
def test_a_stop_after_any_step_changes_nothing(tmp_path, oracle, stop):
    write_run(tmp_path)
    first, _ = run(tmp_path, stop=stop)
    assert (first.outcome, first.step) == ("stopped", stop)
    second, lines = run(tmp_path)
    assert second.directory == first.directory, "one run, one directory"
    assert any(f"at step {stop}" in line for line in lines)
    assert_same(tmp_path, second.directory, oracle)


def test_many_stops_change_nothing(tmp_path, oracle):
    write_run(tmp_path)
    for stop in (2, 5, 9, 11, 16, 21, 27):
        run(tmp_path, stop=stop)
    result, _ = run(tmp_path)
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1
    assert_same(tmp_path, result.directory, oracle)


def test_rolling_back_past_an_evaluation_leaves_no_row_twice(tmp_path, oracle):
    write_run(tmp_path)
    first, _ = run(tmp_path, stop=17)
    checkpoints = sorted((first.directory / "checkpoints").glob("*.ckpt"))
    for path in checkpoints[1:]:
        path.unlink()
    result, lines = run(tmp_path)
    assert any(checkpoints[0].name in line for line in lines)
    assert_same(tmp_path, result.directory, oracle)


def test_a_damaged_newest_checkpoint_is_named_and_passed_over(tmp_path, oracle):
    write_run(tmp_path)
    first, _ = run(tmp_path, stop=10)
    newest = max((first.directory / "checkpoints").glob("*.ckpt"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    result, lines = run(tmp_path)
    assert any("passed over damaged" in line and newest.name in line for line in lines)
    assert_same(tmp_path, result.directory, oracle)


def test_a_checkpoint_named_by_path_continues_its_run(tmp_path, oracle):
    write_run(tmp_path)
    first, _ = run(tmp_path, stop=8)
    path = max((first.directory / "checkpoints").glob("*.ckpt"))
    result, _ = run(tmp_path, restart=str(path))
    assert result.directory.samefile(first.directory)
    assert_same(tmp_path, result.directory, oracle)


def test_nothing_to_continue_starts_afresh_and_says_so(tmp_path):
    write_run(tmp_path, OPTIONS.replace("epochs: 6", "epochs: 1"))
    _, lines = run(tmp_path)
    assert any("no unfinished run with these options" in line and "starting afresh" in line for line in lines)


def test_an_interrupt_from_the_keyboard_stops_at_a_step_boundary(tmp_path, oracle):
    write_run(tmp_path)
    first, _ = run(tmp_path, stop=6, number=signal.SIGINT)
    assert first.outcome == "stopped"
    result, _ = run(tmp_path)
    assert_same(tmp_path, result.directory, oracle)


@pytest.mark.slow
@pytest.mark.skipif(not compiler_present(), reason="needs a C++ compiler")
def test_a_compiled_run_that_stops_ends_with_the_bits_of_a_compiled_run(tmp_path):
    """One shape of batch and one layer, because every shape is compiled by itself and a layer takes a minute."""
    options = OPTIONS.replace("compile: false", "compile: true").replace("layers: 2", "layers: 1")
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    for folder in (alone, stopped):
        folder.mkdir()
        write_run(folder, options, molecules=("H2O",))
    finished, lines = run(alone)
    assert any("compiled step" in line for line in lines)
    for step in (2, 11):
        assert run(stopped, stop=step)[0].outcome == "stopped"
    result, _ = run(stopped)
    assert differing(training_state(stopped / "model.ckpt"), training_state(alone / "model.ckpt")) == []
    assert (result.directory / "metrics.csv").read_text() == (finished.directory / "metrics.csv").read_text()
