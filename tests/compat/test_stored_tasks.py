"""Checkpoints of runs over tasks, of every version, predict what they predicted and train on as they would have."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat import stored_run, stored_tasks
from compat.test_stored_checkpoints import METRIC, PREDICTION, disagreements
from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.run import open_trained

STORED = [(name, number) for name in stored_tasks.LEARNERS for number in stored_tasks.numbers(name)]
each_stored = pytest.mark.parametrize(("name", "number"), STORED)


def test_there_are_stored_checkpoints_of_each() -> None:
    assert {name for name, _ in STORED} == set(stored_tasks.LEARNERS)


@each_stored
def test_it_is_sound_and_its_versions_are_noted(name: str, number: int) -> None:
    with load_checkpoint(stored_tasks.paths(name, number)[0]) as checkpoint:
        noted = stored_tasks.known(name, number)["versions"]
        assert checkpoint.verify() == []
        assert {"training_state": checkpoint.version, **checkpoint.record.versions} == {
            part: version for part, version in noted.items() if part != "archive"
        }
        assert (checkpoint.record.step, checkpoint.record.task) == (stored_tasks.STEP, 2)


@each_stored
def test_it_predicts_what_it_predicted(name: str, number: int) -> None:
    expected = stored_tasks.known(name, number)["predictions"]
    found = stored_tasks.predictions(stored_tasks.paths(name, number)[0])
    assert found.keys() == expected.keys()
    for output, values in expected.items():
        assert np.ptp(np.array(values), axis=0).max() > 1e-2, "these predictions prove nothing"
        assert np.array(found[output]) == pytest.approx(np.array(values), rel=PREDICTION, abs=PREDICTION)


def test_one_predicts_with_what_it_remembers_and_one_does_not() -> None:
    for name, number in STORED:
        opened = open_trained(stored_tasks.paths(name, number)[0])
        assert (opened.predictor is opened.model) == (name != "icarl")


def differing(name: str, number: int, checkpoint: Path, folder: Path) -> list[str]:
    """Continue from a checkpoint; list what comes out otherwise than it is known."""
    shutil.copyfile(checkpoint, folder / "stored.ckpt")
    found = stored_tasks.continued(stored_tasks.run(folder, name, folder / "stored.ckpt"))
    expected = stored_tasks.known(name, number)["continued"]
    different = disagreements(expected["metrics"], found["metrics"])
    for key, rows in expected["matrix"].items():
        one, other = (np.array(values, dtype=float) for values in (rows, found["matrix"][key]))
        different += [] if np.allclose(one, other, rtol=METRIC, atol=METRIC, equal_nan=True) else [f"matrix, {key}"]
    return different


@each_stored
def test_its_training_goes_on_as_it_would_have(name: str, number: int, tmp_path: Path) -> None:
    assert len(stored_tasks.known(name, number)["continued"]["metrics"]) == 3
    assert differing(name, number, stored_tasks.paths(name, number)[0], tmp_path) == []


def other_images(state: dict[str, Any]) -> None:
    state["learner"]["buffer"]["content"]["fields"]["images"]["rows"] //= 2


def other_seen(state: dict[str, Any]) -> None:
    state["learner"]["buffer"]["seen"] //= 2


def other_exemplars(state: dict[str, Any]) -> None:
    state["learner"]["exemplars"]["content"]["fields"]["images"]["rows"] //= 2


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("er", other_images),
        ("er", other_seen),
        ("icarl", other_exemplars),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_part_that_is_not_what_it_was_is_noticed(name: str, change: Any, tmp_path: Path) -> None:
    number = max(stored_tasks.numbers(name))
    with load_checkpoint(stored_tasks.paths(name, number)[0]) as checkpoint:
        state = {part: checkpoint.state(part) for part in checkpoint.components}
        change(state)
        save_checkpoint(tmp_path / "x.ckpt", state, options_yaml=checkpoint.options_yaml, record=checkpoint.record)
    assert differing(name, number, tmp_path / "x.ckpt", tmp_path)


def test_structures_are_told_apart() -> None:
    one, other = (stored_run.structure(stored_tasks.paths(name, 1)[0]) for name in stored_tasks.LEARNERS)
    assert any(line.startswith("learner.buffer") for line in stored_run.differences(one, other))
