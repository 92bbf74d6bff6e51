"""Every learner goes on where it was stopped: after any step, in a task, between tasks, in a stretch of its own.

The oracle of every comparison is one process that was never stopped. The tasks are of scikit-learn's digits.
"""

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle.runs import differing, training_state
from lifecycle.test_exactness import StopAt
from milepost.cli.validation import read_options
from milepost.learning.registry import learners
from milepost.run import Request, Result, train

TASKS = 3
STEPS = 4
LEARNERS: dict[str, dict[str, Any]] = {
    "finetune": {},
    "joint": {},
    "oewc": {},
    "si": {},
    "lwf": {},
    "er": {"buffer_size": 30, "minibatch_size": 7},
    "er-ace": {"buffer_size": 30},
    "agem": {"buffer_size": 12},
    "gem": {"buffer_size": 12},
    "icarl": {"buffer_size": 24},
    "gdumb": {"buffer_size": 24, "fitting_epochs": 2},
    "der": {"buffer_size": 30, "minibatch_size": 5},
    "derpp": {"buffer_size": 200, "minibatch_size": 12},
}


def test_every_learner_is_tried():
    assert sorted(LEARNERS) == sorted(spec.name for spec in learners())


def write(folder: Path, learner: str, **training: Any) -> None:
    options = {
        "seed": 4,
        "device": "cpu",
        "tasks": {"benchmark": "perm-digits", "count": TASKS} if learner == "lwf" else {"benchmark": "seq-digits"},
        "architecture": {
            "name": "mlp",
            "model": {"hidden": [8]},
            "training": {"batch_size": 8, "steps": STEPS, "log_every_steps": 1, **training},
        },
        "learner": {"name": learner, **LEARNERS[learner]},
        "checkpoints": {"every_steps": 2, "durability": "process", "keep_last": 2},
    }
    (folder / "options.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")


def run(folder: Path, stop: int | None, log: list[str]) -> Result:
    """Train in this process, up to a stop."""
    options, architecture = read_options(folder / "options.yaml")
    reporter = StopAt(stop)
    result = train(Request(options, architecture, folder, folder / "model.ckpt", "auto"), reporter)
    assert result.outcome == ("finished" if stop is None else "stopped")
    log += reporter.steps()
    return result


def left(folder: Path, log: list[str]) -> dict[str, Any]:
    """Collect what a run leaves: states, tables, the log."""
    (directory,) = folder.glob("outputs/*/*")
    last = max((directory / "checkpoints").glob("*.ckpt"))
    texts = {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.suffix in (".csv", ".png")}
    matrix = (directory / "tasks.json").read_bytes()
    return {
        "last": training_state(last),
        "model": training_state(folder / "model.ckpt"),
        "files": {**texts, "tasks.json": matrix},
        "log": log,
    }


@functools.cache
def oracle(learner: str) -> tuple[dict[str, Any], int]:
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), list[str]()
        write(folder, learner)
        result = run(folder, None, log)
        return left(folder, log), result.step


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_stop_after_every_step_changes_nothing(tmp_path, learner):
    expected, steps = oracle(learner)
    write(tmp_path, learner)
    log: list[str] = []
    for stop in [*range(1, steps), None]:
        run(tmp_path, stop, log)
    found = left(tmp_path, log)
    assert differing(found["last"], expected["last"]) == []
    assert differing(found["model"], expected["model"]) == []
    assert found["files"] == expected["files"]
    assert found["log"] == expected["log"]


@pytest.mark.parametrize("learner", ["derpp", "gdumb", "oewc"])
def test_workers_change_nothing(tmp_path, learner):
    expected, _ = oracle(learner)
    write(tmp_path, learner, loader_workers=1)
    log: list[str] = []
    for stop in (STEPS + 1, None):
        run(tmp_path, stop, log)
    found = left(tmp_path, log)
    assert differing(found["last"], expected["last"]) == []
    assert found["files"] == expected["files"]
