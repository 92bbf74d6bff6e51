"""Every learner goes on where it was stopped: after any step, in a task, between tasks, in a stretch of its own, while
tasks are measured; and it can be taken back to a task that it has learned.

The oracle of every comparison is one process that was never stopped. The tasks are of scikit-learn's digits.
"""

import functools
import itertools
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle.runs import differing, training_state
from lifecycle.test_exactness import StopAt
from milepost.cli.validation import read_options
from milepost.images import domain
from milepost.images.evaluating import evaluate
from milepost.learning.registry import learners
from milepost.run import Request, Result, train

CLASSES: dict[str, Any] = {"benchmark": "seq-digits"}
VIEWS: dict[str, Any] = {"benchmark": "perm-digits", "count": 3}
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
CASES = {**{name: (name, CLASSES) for name in LEARNERS}, "lwf-views": ("lwf", VIEWS)}
"""Learners and tasks. To hold outputs takes a list of the classes so far, or none that are not."""


def test_every_learner_is_tried():
    assert sorted(LEARNERS) == sorted(spec.name for spec in learners())


def write(folder: Path, case: str, **training: Any) -> None:
    learner, tasks = CASES[case]
    options = {
        "seed": 4,
        "device": "cpu",
        "tasks": tasks,
        "architecture": {
            "name": "mlp",
            "model": {"hidden": [8]},
            "training": {"batch_size": 8, "steps": STEPS, "log_every_steps": 1, **training},
        },
        "learner": {"name": learner, **LEARNERS[learner]},
        "checkpoints": {"every_steps": 2, "durability": "process", "keep_last": 2},
    }
    (folder / "options.yaml").write_text(yaml.safe_dump(options), encoding="utf-8")


class StopWhileMeasuring(StopAt):
    """Send this process a signal while tasks are measured, unless it got one at that step in an earlier life."""

    def __init__(self, stopped: list[int], patch: pytest.MonkeyPatch) -> None:
        super().__init__(None)
        self.done: int | None = None
        self.stopped = stopped
        patch.setattr(domain, "evaluate", self.evaluated)

    def begin(self, step: int, total: int) -> Any:
        self.done = step
        return super().begin(step, total)

    def step(self, done: int) -> None:
        self.done = done

    def evaluated(self, model: Any, data: Any, classes: int) -> Any:
        at = self.done or 0
        if at not in self.stopped:
            self.stopped.append(at)
            os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(model, data, classes)


def life(folder: Path, reporter: StopAt, *overrides: str, output: str = "model.ckpt") -> Result:
    """Train in this process, until the reporter stops it or to the end."""
    options, architecture = read_options(folder / "options.yaml", overrides, for_training=True)
    return train(Request(options, architecture, folder, folder / output, "auto"), reporter)


def run(folder: Path, stop: int | None, log: list[str]) -> Result:
    """Train in this process, up to a stop."""
    reporter = StopAt(stop)
    result = life(folder, reporter)
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
        "tasks": json.loads(matrix)["tasks"],
    }


@functools.cache
def oracle(case: str) -> tuple[dict[str, Any], int]:
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), list[str]()
        write(folder, case)
        result = run(folder, None, log)
        return left(folder, log), result.step


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert differing(found["last"], expected["last"]) == []
    assert differing(found["model"], expected["model"]) == []
    assert found["files"] == expected["files"]
    assert found["log"] == expected["log"]


@pytest.mark.parametrize("case", CASES)
def test_a_stop_after_every_step_changes_nothing(tmp_path, case):
    expected, steps = oracle(case)
    write(tmp_path, case)
    log: list[str] = []
    for stop in [*range(1, steps), None]:
        run(tmp_path, stop, log)
    assert_same(left(tmp_path, log), expected)


@pytest.mark.parametrize("case", CASES)
def test_a_stop_in_every_evaluation_changes_nothing(tmp_path, case, monkeypatch):
    """The signal comes while tasks are measured: before the first step, and at the end of each task."""
    expected, steps = oracle(case)
    write(tmp_path, case)
    log: list[str] = []
    stopped: list[int] = []
    ended: list[int] = []
    outcome = "stopped"
    while outcome == "stopped":
        reporter = StopWhileMeasuring(stopped, monkeypatch)
        result = life(tmp_path, reporter)
        log += reporter.steps()
        ended.append(result.step)
        outcome = result.outcome
    assert len(stopped) == (1 if case == "joint" else 1 + len(expected["tasks"]))
    assert stopped[-1] == steps
    assert ended == [*stopped, steps]
    assert_same(left(tmp_path, log), expected)


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


OF_EACH_TASK = {"tasks": {task: [task] for task in range(5)}, "each": dict.fromkeys(range(5), 2)}
MEMORIES: dict[str, dict[str, Any]] = {
    "gem": OF_EACH_TASK,
    "agem": OF_EACH_TASK,
    "icarl": {"exemplars": {label: [label] * 2 for label in range(10)}},
    "lwf": {"known": list(range(10))},
    "lwf-views": {"known": list(range(10))},
    "er-ace": {"task": 4},
}


@pytest.mark.parametrize("case", [case for case in CASES if case != "joint"])
def test_tasks_that_were_learned_can_be_learned_again(tmp_path, case):
    """Twice, once with a stop in a task that is learned again: the same. What is kept by task, or by class, is kept of
    each once, and what the model has learned it has learned.
    """
    write(tmp_path, case)
    life(tmp_path, StopAt(None))
    before = training_state(tmp_path / "model.ckpt")
    again = ("course.loadcheck=model.ckpt", "course.start_from=0", "course.stop_after=2")
    whole = life(tmp_path, StopAt(None), *again, output="whole.ckpt")
    assert life(tmp_path, StopAt(STEPS + 1), *again, output="stopped.ckpt").outcome == "stopped"
    life(tmp_path, StopAt(None), *again, output="stopped.ckpt")
    after = training_state(tmp_path / "whole.ckpt")
    assert differing(training_state(tmp_path / "stopped.ckpt"), after) == []
    assert all(value.isfinite().all() for value in after["model"].values())
    assert memories(before) == memories(after) == MEMORIES.get(case, {})
    document = json.loads((whole.directory / "tasks.json").read_bytes())
    count = len(document["tasks"])
    assert document["history"] == [*range(count), 0, 1]
    assert document["before"] == before["matrix"]["before"]
    assert document["scores"]["accuracy"]["forward_transfer"] is None


def memories(state: dict[str, Any]) -> dict[str, Any]:
    """Tell what a learner keeps by task or class: of which, and how many examples with which labels."""
    learner = state.get("learner", {})
    found: dict[str, Any] = {"known": learner["known"].tolist()} if learner.get("known") is not None else {}
    found |= {"task": learner["task"]} if "buffer" in learner and "task" in learner else {}
    if "exemplars" in learner:
        labels = learner["exemplars"]["content"]["fields"]["labels"]["rows"].tolist()
        ends = list(itertools.accumulate(count for _, count in learner["exemplars"]["counts"]))
        parts = [labels[a:b] for a, b in zip([0, *ends], [*ends, len(labels)], strict=True)]
        found["exemplars"] = {
            label: part for (label, _), part in zip(learner["exemplars"]["counts"], parts, strict=False)
        }
        assert parts[-1] == []
        found["exemplars"] = dict(sorted(found["exemplars"].items()))
    elif learner.get("buffer", {}).get("kind") == "ring":
        labels = learner["buffer"]["content"]["fields"]["labels"]["rows"]
        members = learner["buffer"]["members"].items()
        found["tasks"] = {task: sorted({int(label) // 2 for label in labels[slots]}) for task, slots in members}
        found["each"] = {task: len(slots) for task, slots in members}
    return found


def test_the_optimizer_begins_anew_also_with_the_first_task_when_it_is_learned_again(tmp_path):
    write(tmp_path, "finetune", optimizer={"name": "Adam", "learning_rate": 0.01})
    life(tmp_path, StopAt(None))
    again = ("course.loadcheck=model.ckpt", "course.start_from=0", "checkpoints.every_steps=1")
    result = life(tmp_path, StopAt(1), *again, output="again.ckpt")
    (path,) = (result.directory / "checkpoints").glob("*.ckpt")
    taken = {float(moments["step"]) for moments in training_state(path)["optimizer"]["state"].values()}
    assert taken == {1.0}


def test_a_new_model_can_begin_with_a_later_task(tmp_path):
    """Nothing is said of the tasks before: it never learned them."""
    write(tmp_path, "er")
    result = life(tmp_path, StopAt(None), "course.start_from=3")
    document = json.loads((result.directory / "tasks.json").read_bytes())
    accuracy, before = document["rows"]["accuracy"], document["before"]["accuracy"]
    assert document["history"] == [3, 4]
    assert None not in before
    assert [None not in row[:5] for row in accuracy] == [False] * 3 + [True] * 2
    scores = document["scores"]["accuracy"]
    assert scores["average"] == pytest.approx((accuracy[4][3] + accuracy[4][4]) / 2)
    assert scores["forgetting"] == pytest.approx(accuracy[3][3] - accuracy[4][3])
    assert scores["forward_transfer"] == pytest.approx(accuracy[3][4] - before[4])
