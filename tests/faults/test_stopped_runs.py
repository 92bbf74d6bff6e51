"""SIGTERM at random moments of saving: a few here, 1,000 with `python tests/faults/stopped_runs.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STOPS = 12


@pytest.mark.slow
def test_a_run_asked_to_stop_at_random_moments_of_saving_leaves_with_status_75_and_a_good_file():
    script = Path(__file__).with_name("stopped_runs.py")
    done = subprocess.run(
        [sys.executable, script, "--stops", str(STOPS), "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{STOPS} stops" in done.stdout
    assert "exit statuses {75: 12}" in done.stdout
