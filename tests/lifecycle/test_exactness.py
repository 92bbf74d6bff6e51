"""Resuming changes nothing: whatever makes the batches, however a step is computed, and wherever the run is stopped.

The oracle of every comparison is one process that was never stopped, with batches made in that process. Runs are of the
toy domain with dropout, so that a step depends on torch's global generator as well.
"""

import functools
import io
import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rich.console
import torch

from lifecycle import toy
from lifecycle.runs import OPTIONS, command, differing, training_state, write_run
from lifecycle.test_resuming import run as run_structures
from milepost.run import Reporter, advancing
from milepost.run.compiling import compiler_present

TIME_LEFT = re.compile(r"\s*\[.* left\]$")


class StopAt(toy.Log):
    """Send this process a signal when a step is done, as a scheduler would."""

    def __init__(self, step: int | None) -> None:
        super().__init__()
        self.at = step

    def step(self, done: int) -> None:
        if done == self.at:
            os.kill(os.getpid(), signal.SIGTERM)

    def steps(self) -> list[str]:
        """Return the lines of steps and evaluations, without times."""
        return [TIME_LEFT.sub("", line) for line in self.lines if line.startswith(("step ", "epoch "))]


@dataclass(frozen=True)
class Ending:
    """What a run leaves: the last state, the published model, the metrics and the log."""

    last: dict[str, object]
    model: dict[str, object]
    metrics: bytes
    log: tuple[str, ...]
    steps: int

    @classmethod
    def of(cls, folder: Path, log: list[str], steps: int) -> "Ending":
        (directory,) = folder.glob("outputs/*/*")  # one run, one directory
        last = max((directory / "checkpoints").glob("*.ckpt"))
        metrics = (directory / "metrics.csv").read_bytes()
        return cls(training_state(last), training_state(folder / "model.ckpt"), metrics, tuple(log), steps)


def write(folder: Path, accumulate: int = 1, precision: str | None = None, examples: int = 14, **more: Any) -> None:
    """Write options: 6 or 4 steps, some of them of fewer examples, an evaluation after each epoch and at the end."""
    training = {
        "accumulate_batches": accumulate,
        "mixed_precision": precision,
        "steps": 6 if accumulate == 1 else 4,
        "gradient_clip": 1.0,
        "log_every_steps": 1,
        **more,
    }
    toy.write_options(folder, training=training, examples=examples, validation_examples=3)


def continued(folder: Path, stops: list[int | None], workers: list[int]) -> Ending:
    """Train in as many goes as there are stops, None for one to the end, with so many workers in each."""
    log: list[str] = []
    for stop, number in zip(stops, workers, strict=True):
        reporter = StopAt(stop)
        result = toy.run(folder, f"architecture.training.loader_workers={number}", reporter=reporter)
        assert result.outcome == ("finished" if stop is None else "stopped")
        assert stop is None or result.step == stop
        log += reporter.steps()
    return Ending.of(folder, log, result.step)


def assert_same(found: Ending, expected: Ending) -> None:
    assert differing(found.last, expected.last) == []
    assert differing(found.model, expected.model) == []
    assert found.metrics == expected.metrics
    assert found.log == expected.log


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory):
    with toy.installed(tmp_path_factory.mktemp("site")):
        yield


@functools.cache
def oracle(accumulate: int = 1, precision: str | None = None) -> Ending:
    """Train without a stop, batches made in this process."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), accumulate, precision)
        return continued(Path(folder), [None], [0])


CASES = [(a, p) for a in (1, 3) for p in (None, "bfloat16", "float16")]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize(("accumulate", "precision"), CASES)
def test_a_stop_after_every_single_step_changes_nothing(tmp_path, accumulate, precision, workers):
    expected = oracle(accumulate, precision)
    write(tmp_path, accumulate, precision)
    stops = [*range(1, expected.steps), None]
    assert_same(continued(tmp_path, stops, [workers] * len(stops)), expected)


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_one_stop_after_any_step_changes_nothing(tmp_path, stop):
    write(tmp_path)
    assert_same(continued(tmp_path, [stop, None], [0, 0]), oracle())


def test_another_number_of_workers_in_every_go_changes_nothing(tmp_path):
    write(tmp_path)
    assert_same(continued(tmp_path, [1, 3, 4, None], [2, 0, 1, 2]), oracle())


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing_in_a_run_that_is_not_stopped(tmp_path, workers):
    write(tmp_path)
    assert_same(continued(tmp_path, [None], [workers]), oracle())


def test_a_run_goes_back_to_an_earlier_checkpoint_and_repeats_nothing(tmp_path):
    write(tmp_path)
    continued_to = StopAt(5)
    first = toy.run(tmp_path, reporter=continued_to)
    *_, earlier, newest = sorted((first.directory / "checkpoints").glob("*.ckpt"))
    newest.unlink()
    again = StopAt(None)
    result = toy.run(tmp_path, reporter=again)
    gone_back_to = int(earlier.stem.removeprefix("step-"))
    kept = [line for line in continued_to.steps() if int(re.search(r"step (\d+)", line)[1]) <= gone_back_to]
    assert_same(Ending.of(tmp_path, kept + again.steps(), result.step), oracle())


def test_workers_cut_batches_of_structures_too(tmp_path):
    """The domain of a real architecture, whose batches are of several shapes."""
    options = OPTIONS.replace("epochs: 6", "epochs: 2").replace(
        "batch_size: 4", "batch_size: 2\n    accumulate_batches: 2"
    )
    states = []
    for name, goes in (("alone", [(0, None)]), ("stopped", [(2, 3), (1, 7), (0, None)])):
        folder = tmp_path / name
        folder.mkdir()
        write_run(folder, options)
        for workers, stop in goes:
            result, _ = run_structures(
                folder, stop=stop, overrides=(f"architecture.training.loader_workers={workers}",)
            )
        assert result.outcome == "finished"
        states.append(training_state(max((result.directory / "checkpoints").glob("*.ckpt"))))
    assert differing(*states) == []


def test_a_signal_to_every_process_of_a_job_ends_no_worker_before_its_time(tmp_path):
    """Schedulers and terminals signal all of them; the command says 75, and its workers are gone."""
    training = {"steps": 24, "loader_workers": 2}
    for name in ("alone", "stopped"):
        (tmp_path / name).mkdir()
        toy.write_options(tmp_path / name, training=training, checkpoints={"every_steps": 6}, seconds=0.15)
    result = toy.run(tmp_path / "alone", "architecture.training.loader_workers=0")
    expected = Ending.of(tmp_path / "alone", [], result.step)
    arguments = command("train", "options.yaml", "--restart", "auto", "--no-export")
    process = subprocess.Popen(
        arguments,
        cwd=tmp_path / "stopped",
        env=toy.environment(tmp_path / "site"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    workers: list[Path] = []
    while process.poll() is None and len(workers) < 2:
        time.sleep(0.02)
        if any(tmp_path.glob("stopped/outputs/*/*/checkpoints/*.ckpt")):
            workers = [e for e in Path("/proc").iterdir() if e.name.isdigit() and parent(e) == process.pid]
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate()[1]
    assert (process.returncode, len(workers)) == (75, 2), said
    assert not any(worker.exists() for worker in workers)
    result = toy.run(tmp_path / "stopped")
    assert differing(Ending.of(tmp_path / "stopped", [], result.step).last, expected.last) == []


def parent(entry: Path) -> int | None:
    """Return the process that started another, by its entry in /proc."""
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_a_bar_on_a_terminal_draws_no_random_numbers(tmp_path):
    write(tmp_path)
    for stop in (3, None):
        console = rich.console.Console(file=io.StringIO(), force_terminal=True)

        class Bar(Reporter):
            def step(self, done: int, at: int | None = stop) -> None:
                super().step(done)
                if done == at:
                    os.kill(os.getpid(), signal.SIGTERM)

        result = toy.run(tmp_path, reporter=Bar(console))
    found = Ending.of(tmp_path, [], result.step)
    assert differing(found.last, oracle().last) == []


def test_gradients_overflow_float16_and_the_run_goes_on(tmp_path):
    """The scale starts at 65536, which is too large for these gradients."""
    overflow = re.compile(r"step \d+: the gradients overflowed float16 and the step was skipped; .* is now 32768")
    assert any(overflow.fullmatch(line) for line in oracle(precision="float16").log)
    assert "scaler" in oracle(precision="float16").last
    assert "scaler" not in oracle(precision="bfloat16").last


def test_precisions_and_steps_of_more_batches_are_other_runs():
    """A comparison that finds no difference anywhere would prove nothing."""
    weights = [str(differing(oracle(*case).model["model"], oracle().model["model"])) for case in CASES[1:]]
    assert "[]" not in weights


@pytest.mark.slow
@pytest.mark.skipif(not compiler_present(), reason="needs a C++ compiler")
@pytest.mark.parametrize(("accumulate", "precision", "workers"), [(1, None, 0), (2, "bfloat16", 1)])
def test_a_compiled_run_that_stops_ends_with_the_bits_of_a_compiled_run(tmp_path, accumulate, precision, workers):
    """Dropout is drawn inside of what is compiled, and compiling itself draws nothing.

    All batches have one shape, because every shape is compiled by itself.
    """
    endings = []
    for name, stops in (("alone", [None]), ("stopped", [2, None])):
        folder = tmp_path / name
        folder.mkdir()
        write(folder, accumulate, precision, examples=12, compile=True)
        endings.append(continued(folder, stops, [workers] * len(stops)))
    assert_same(endings[1], endings[0])
    eager = tmp_path / "eager"
    eager.mkdir()
    write(eager, accumulate, precision, examples=12)
    assert differing(endings[0].last, continued(eager, [None], [0]).last), "it was compiled"


def test_a_run_computes_what_threads_can_not_reorder(tmp_path, monkeypatch):
    """With several threads torch adds in the order in which they come by, unless it is told not to."""
    modes = []
    norm = advancing.gradient_norm
    monkeypatch.setattr(
        advancing, "gradient_norm", lambda *given: modes.append(torch.get_deterministic_debug_mode()) or norm(*given)
    )
    write(tmp_path)
    with toy.installed(tmp_path / "installed"):
        assert toy.run(tmp_path).outcome == "finished"
    assert set(modes) == {2}
    assert torch.get_deterministic_debug_mode() == 0
