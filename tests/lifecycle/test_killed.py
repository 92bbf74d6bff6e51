"""Nothing is lost and resuming changes nothing: ten SIGKILLs at random moments, the same command each time.

The oracle is one process that was left alone. The command to repeat this is in the README.
"""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lifecycle.runs import OPTIONS, command, differing, training_state, write_run

KILLS = 10
LONG = OPTIONS.replace("epochs: 6", "epochs: 60").replace("every_steps: 3", "every_steps: 7")
ARGUMENTS = ("train", "options.yaml", "--restart", "auto", "--no-export")


def training(folder: Path) -> subprocess.Popen[str]:
    """Start the command and return its process at the moment when its first step begins."""
    process = subprocess.Popen(command(*ARGUMENTS), cwd=folder, stderr=subprocess.PIPE, text=True)
    if process.stderr is None:
        raise RuntimeError("no standard error to read")
    for line in process.stderr:
        if "step of" in line or "steps of" in line:
            break
    return process


def left_alone(folder: Path) -> float:
    """Run the command to its end; return the seconds its training took."""
    with training(folder) as process:
        start = time.monotonic()
        _, rest = process.communicate()
        assert process.returncode == 0, rest
        return time.monotonic() - start


def killed(folder: Path, after: float) -> bool:
    """Run the command, kill it after seconds of training; tell whether it lived to be killed."""
    with training(folder) as process:
        try:
            _, rest = process.communicate(timeout=after)
            assert process.returncode == 0, rest
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        return process.returncode == -signal.SIGKILL


def killed_ten_times(folder: Path, longest: float) -> Path:
    """Kill a run ten times at random moments and return its folder, with shorter lives where it ended before that:
    a machine that others use may be faster now than when the time was taken.
    """
    rng = random.Random(time.time_ns())
    for attempt in range(6):
        tried = folder / str(attempt)
        tried.mkdir(parents=True)
        write_run(tried, LONG)
        if all(killed(tried, rng.uniform(0.0, longest / 2**attempt)) for _ in range(KILLS)):
            return tried
    raise AssertionError(f"no run lived to be killed {KILLS} times: make it longer")


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_with_the_same_bits(tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    write_run(alone, LONG)
    # All lives together last at most half as long as the training.
    continued = killed_ten_times(tmp_path / "continued", left_alone(alone) / (2 * KILLS))
    left_alone(continued)
    assert differing(training_state(continued / "model.ckpt"), training_state(alone / "model.ckpt")) == []
    runs = list(continued.glob("outputs/*/*/metrics.csv"))
    assert len(runs) == 1, "one run, one directory"
    assert runs[0].read_text() == next(alone.glob("outputs/*/*/metrics.csv")).read_text()
