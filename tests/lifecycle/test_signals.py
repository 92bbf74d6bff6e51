"""A signal ends `milepost train` with status 75 wherever it is; the same command again does the rest.

Real processes, which halt at the points where they get their signals: see `lifecycle.halted`.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from lifecycle import toy
from lifecycle.halted import Ended, Halted, Nursery
from lifecycle.runs import OPTIONS, differing, training_state, write_run
from milepost.checkpoint import list_checkpoints
from milepost.run import advancing

SHORT = OPTIONS.replace("epochs: 6", "epochs: 2").replace("keep_best: 1", "keep_best: 1, durability: process")
LAST = 10
TRAIN = ("train", "options.yaml", "--restart", "auto")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
IMPORTING = """
from lifecycle.halted import halt_at
halt_at("import:torch", "")
from milepost.cli import main
main()
"""
GO_ON = "; continue with the same command and --restart auto\n"


def drafts(folder: Path) -> list[str]:
    """List what a commit that was left in the middle would leave behind."""
    return [path.name for path in folder.rglob("*.draft")]


def stands(folder: Path) -> tuple[str, int]:
    """Return what the run says of itself."""
    (record,) = (json.loads(path.read_text()) for path in folder.glob("outputs/*/*/run.json"))
    return record["state"], record["step"]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Import everything once, in a process from which the others are forked."""
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def start(nursery, tmp_path):
    """Start the command in this test's folder, up to a halt."""
    write_run(tmp_path, SHORT)
    return functools.partial(Halted, nursery, tmp_path)


def signalled(halted: Halted, number: signal.Signals) -> Ended:
    """Send a signal that makes the process leave its halt."""
    with halted:
        halted.signal(number)
        return halted.to_its_end()


def noted(halted: Halted, number: signal.Signals) -> Ended:
    """Send a signal that is only noted, and let the process go on."""
    with halted:
        halted.signal(number)
        return halted.go_on()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_while_the_libraries_are_imported(tmp_path, number):
    """This one is no child of the nursery: it has nothing imported when it gets its signal."""
    write_run(tmp_path, SHORT)
    program = [sys.executable, "-c", IMPORTING, *TRAIN]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(program, cwd=tmp_path, text=True, env=environment, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)
        _, said = process.communicate()
    assert process.returncode == 75
    assert said == f"stopped by {number.name}: nothing was computed yet{GO_ON}"
    assert not (tmp_path / "outputs").exists()


@pytest.fixture(scope="module")
def oracle(nursery, tmp_path_factory) -> Path:
    """Train without a stop."""
    folder = tmp_path_factory.mktemp("oracle")
    write_run(folder, SHORT)
    with Halted(nursery, folder, "", *TRAIN, "--no-export") as alone:
        ended = alone.to_its_end()
    assert ended.status == 0, ended.said
    return folder


@pytest.mark.slow
def test_a_run_that_is_stopped_in_each_phase_in_turn_ends_with_the_same_bits(tmp_path, start, oracle):
    kept = f"step {LAST} is kept in 'outputs/"

    ended = signalled(start("milepost.atoms.domain:AtomsDomain.prepare", *TRAIN), signal.SIGTERM)
    assert (ended.status, stands(tmp_path)) == (75, ("stopped", 0)), ended.said
    assert ended.said.endswith(f"stopped by SIGTERM: nothing was computed yet{GO_ON}")

    ended = noted(start("milepost.run.advancing:gradient_norm", *TRAIN), signal.SIGUSR1)
    assert (ended.status, stands(tmp_path)) == (75, ("stopped", 1)), ended.said
    assert ended.said.endswith("stopped at step 1 by SIGUSR1" + GO_ON)

    ended = signalled(start("milepost.run.training:choose_mode", *TRAIN), signal.SIGINT)
    assert (ended.status, stands(tmp_path)) == (75, ("stopped", 1)), ended.said
    assert "stopped by SIGINT: step 1 is kept in 'outputs/" in ended.said

    ended = noted(start("milepost.run.saving:mark_latest", *TRAIN, text=f"step-{LAST:08d}"), signal.SIGUSR2)
    assert (ended.status, stands(tmp_path)) == (75, ("stopped", LAST)), ended.said
    assert not (tmp_path / "model.ckpt").exists(), "publishing takes time that the process may not have"

    ended = signalled(
        start("milepost.archive.filesystem:FileSystem.replace", *TRAIN, text="model.ckpt"), signal.SIGTERM
    )
    assert (ended.status, stands(tmp_path)) == (75, ("stopped", LAST)), ended.said
    assert kept in ended.said
    assert not (tmp_path / "model.ckpt").exists()

    ended = signalled(start("milepost.run.training:report_errors", *TRAIN), signal.SIGUSR1)
    assert (ended.status, stands(tmp_path)) == (75, ("stopped", LAST)), ended.said
    published = (tmp_path / "model.ckpt").read_bytes()

    ended = signalled(start("+milepost.atoms.metatomic:save_metatomic", *TRAIN), signal.SIGINT)
    assert (ended.status, stands(tmp_path)) == (75, ("finished", LAST)), ended.said
    assert ended.said.endswith(f"stopped by SIGINT: the model is in 'model.ckpt', its export is not made{GO_ON}")
    assert not (tmp_path / "model.pt").exists()
    assert drafts(tmp_path) == []

    ended = noted(start("exit", *TRAIN), signal.SIGTERM)
    assert ended.status == 0, ended.said
    assert "exported: model.pt" in ended.said
    assert (tmp_path / "model.ckpt").read_bytes() == published
    assert differing(training_state(tmp_path / "model.ckpt"), training_state(oracle / "model.ckpt")) == []
    (rows,) = (path.read_text() for path in tmp_path.glob("outputs/*/*/metrics.csv"))
    assert rows == next(oracle.glob("outputs/*/*/metrics.csv")).read_text()


@pytest.mark.slow
def test_a_second_interrupt_leaves_at_once_while_a_save_is_in_flight(tmp_path, start, oracle):
    """The file is written and has no name yet: what was committed before it is what counts."""
    with start("milepost.archive.filesystem:FileSystem.replace", *TRAIN, text="step-00000006.ckpt") as halted:
        status = interrupted_twice(halted)
    assert status == 130
    assert len(drafts(tmp_path)) == 1, "a save was in flight"
    (folder,) = tmp_path.glob("outputs/*/*/checkpoints")
    assert [(entry.step, entry.damage) for entry in list_checkpoints(folder, verify=True)] == [(3, ()), (5, ())]
    with start("", *TRAIN, "--no-export") as alone:
        ended = alone.to_its_end()
    assert ended.status == 0, ended.said
    assert "at step 5" in ended.said
    assert differing(training_state(tmp_path / "model.ckpt"), training_state(oracle / "model.ckpt")) == []
    assert drafts(tmp_path) == []


@pytest.mark.slow
def test_a_second_interrupt_gives_the_terminal_its_cursor_back(start):
    master, terminal = os.openpty()
    with ThreadPoolExecutor(1) as reader:  # a terminal that nobody reads holds up who writes
        shown = reader.submit(everything, master)
        try:
            halted = start("milepost.run.advancing:gradient_norm", *TRAIN, stderr=terminal)
        finally:
            os.close(terminal)
        with halted:
            status = interrupted_twice(halted)
        text = shown.result()
    assert status == 130
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


class Group:
    """Signal this process at a step, and fail the step as if the signal had reached a process that it waits for."""

    def __init__(self, step: int) -> None:
        self.norm, self.left = advancing.gradient_norm, step

    def __call__(self, *arguments: Any) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("the compiler ended with status -15")
        return self.norm(*arguments)


def test_a_signal_that_ends_a_compiler_cuts_the_step_short_and_no_more(tmp_path, monkeypatch):
    """A scheduler signals every process of a job."""
    alone, stopped = tmp_path / "alone", tmp_path / "stopped"
    for folder in (alone, stopped):
        folder.mkdir()
        toy.write_options(folder)
    log = toy.Log()
    with toy.installed(tmp_path / "installed"):
        toy.run(alone)
        with monkeypatch.context() as patch:
            patch.setattr(advancing, "gradient_norm", Group(step=5))
            first = toy.run(stopped, reporter=log)
        toy.run(stopped)
    assert (first.outcome, first.step, first.cause) == ("stopped", 4, "SIGTERM"), "the last checkpoint is what holds"
    assert any("cut short: RuntimeError: the compiler ended with status -15" in line for line in log.lines)
    assert differing(training_state(stopped / "model.ckpt"), training_state(alone / "model.ckpt")) == []


def interrupted_twice(halted: Halted) -> int:
    """Press Ctrl-C until the process is gone: once is not enough for one that is halted in the loop.

    Two signals of one kind that come before the first was handled count as one, so that two may be too few.
    """
    while halted.lives():
        halted.signal(signal.SIGINT)
        time.sleep(0.02)
    return halted.to_its_end().status


def everything(terminal: int) -> str:
    """Read what is shown on a terminal, until nobody can write there any more."""
    with open(terminal, "rb", buffering=0) as stream:
        parts: list[bytes] = []
        while True:
            try:
                parts.append(stream.read(4096))
            except OSError:  # how Linux tells the end
                return b"".join(parts).decode()
