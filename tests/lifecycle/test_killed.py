"""Nothing is lost and resuming changes nothing: ten SIGKILLs at random moments, the same command each time.

The oracle is one process that was left alone. The command to repeat this is in the README.
"""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lifecycle.runs import OPTIONS, command, differing, milepost, training_state, write_run

KILLS = 10
LONG = OPTIONS.replace("epochs: 6", "epochs: 60").replace("every_steps: 3", "every_steps: 7")
ARGUMENTS = ("train", "options.yaml", "--restart", "auto", "--no-export")
LONGEST_LIFE = 2.5
"""Seconds of training after which a process is killed at the latest: well below what the whole run needs."""


def killed_once(folder: Path, rng: random.Random) -> bool:
    """Run the command, kill it at a random moment of its training; tell whether it lived to be killed."""
    process = subprocess.Popen(command(*ARGUMENTS), cwd=folder, stderr=subprocess.PIPE, text=True)
    stream = process.stderr
    if stream is None:
        raise RuntimeError("no standard error to read")
    for line in stream:
        if "step of" in line or "steps of" in line:
            break
    try:
        process.wait(timeout=rng.uniform(0.0, LONGEST_LIFE))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait()
    stream.close()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_with_the_same_bits(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    for folder in (alone, killed):
        folder.mkdir()
        write_run(folder, LONG)
    finished = milepost(alone, *ARGUMENTS)
    assert finished.returncode == 0, finished.stderr
    rng = random.Random(time.time_ns())
    kills = sum(killed_once(killed, rng) for _ in range(KILLS))
    assert kills == KILLS, f"only {kills} of {KILLS} processes lived to be killed: make the run longer"
    finished = milepost(killed, *ARGUMENTS)
    assert finished.returncode == 0, finished.stderr
    assert differing(training_state(killed / "model.ckpt"), training_state(alone / "model.ckpt")) == []
    runs = list(killed.glob("outputs/*/*/metrics.csv"))
    assert len(runs) == 1, "one run, one directory"
    assert runs[0].read_text() == next(alone.glob("outputs/*/*/metrics.csv")).read_text()
