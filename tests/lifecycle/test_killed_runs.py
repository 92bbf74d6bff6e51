"""SIGKILL at random moments of a process's life: some here, 500 with `python tests/lifecycle/killed_runs.py`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle import toy
from lifecycle.experiments import experiments
from lifecycle.test_exactness import StopAt
from milepost.learning.registry import learners

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


def test_the_step_of_the_best_value_outlives_a_kill_before_it_was_noted(tmp_path):
    still = {"optimizer": {"learning_rate": 1e-30}, "ema_decay": None}  # every evaluation finds the same
    toy.write_options(tmp_path, training=still, checkpoints={"every_steps": 6})
    with toy.installed(tmp_path / "installed"):
        toy.run(tmp_path, reporter=StopAt(6))
        (path,) = tmp_path.glob("outputs/*/*/run.json")
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["best"]["step"] == 6
        path.write_text(json.dumps(record | {"best": None}), encoding="utf-8")
        toy.run(tmp_path)
    assert json.loads(path.read_text(encoding="utf-8"))["best"] == record["best"]
