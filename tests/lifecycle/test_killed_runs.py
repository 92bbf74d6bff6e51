"""SIGKILL at random moments of a process's life: some here, 500 with `python tests/lifecycle/killed_runs.py`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle.experiments import experiments
from milepost.learning import learners

SETS = 5
KILLS_OF_A_SET = 4
QUICK = "toy: (plain|accumulation)|images: (gdumb|derpp, two workers)|potentials: oewc"


def test_every_learner_is_killed_and_some_on_potentials():
    names = [each.name for each in experiments()]
    assert len(names) == len(set(names))
    assert {f"images: {spec.name}" for spec in learners()} < set(names)
    assert sum(name.startswith("potentials: ") for name in names) >= 2
    assert len([name for name in names if re.search(QUICK, name)]) == SETS


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_like_those_that_were_left_alone():
    script = Path(__file__).with_name("killed_runs.py")
    kills = SETS * KILLS_OF_A_SET
    done = subprocess.run(
        [sys.executable, script, "--kills", str(kills), "--only", QUICK, "--most", str(KILLS_OF_A_SET)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"([0-9]+) kills of ([0-9]+) runs .* 0 broke the promise", done.stdout)
    assert found, done.stdout
    assert int(found[1]) >= kills
    assert int(found[2]) >= SETS
