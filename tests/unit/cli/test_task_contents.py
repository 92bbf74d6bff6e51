"""A checkpoint of a sequence of tasks tells its task, its learner, and what that remembers."""

from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.archive import Archive
from milepost.checkpoint import CheckpointRecord, save_checkpoint
from milepost.cli.contents import describe
from milepost.cli.show import page
from milepost.cli.task_contents import learner_of, tasks_of

BUFFER = {"seen": 90, "content": {"length": 3, "fields": {"images": {"rows": torch.zeros(3, 4)}}}}
MATRIX = {"tasks": ["a", "b"], "joint": False}


def save(path: Path, options: str = "learner: {name: er}\n", **components: Any) -> Path:
    record = CheckpointRecord(run_id="r", step=5, task=1)
    save_checkpoint(path, {"model": {"w": torch.ones(2)}, **components}, options_yaml=options, record=record)
    return path


def lines(path: Path) -> list[str]:
    return [" ".join(line.split()) for line in page(describe(path))]


def test_task_learner_and_buffer_are_told(tmp_path: Path) -> None:
    learner = {"buffer": BUFFER, "before": {"w": torch.ones(2)}, "task": 1}
    shown = lines(save(tmp_path / "a.ckpt", matrix=MATRIX, learner=learner))
    assert "task 1 (b), of 2 counted from 0" in shown
    assert "learner er" in shown
    at = shown.index("what the learner remembers")
    assert shown[at + 1 : at + 4] == ["part examples tensors size", "buffer 3 1 48 B", "before 1 8 B"]


def test_an_empty_buffer_is_told_too(tmp_path: Path) -> None:
    empty = {"content": {"length": 0, "fields": {}}}
    shown = lines(save(tmp_path / "a.ckpt", matrix=MATRIX, learner={"buffer": empty}))
    assert "buffer 0 0 0 B" in shown


def test_tasks_that_were_learned_at_once_have_no_number(tmp_path: Path) -> None:
    shown = lines(save(tmp_path / "a.ckpt", matrix=MATRIX | {"joint": True}))
    assert "task 2 tasks at once" in shown


def test_a_single_task_has_neither(tmp_path: Path) -> None:
    with Archive.open(save(tmp_path / "a.ckpt")) as archive:
        assert (tasks_of(archive), learner_of(archive)) == ({}, {})


@pytest.mark.parametrize("matrix", [[1], {"tasks": 3}, {}, {"tasks": None}])
def test_a_matrix_of_somebody_else_is_passed_over(tmp_path: Path, matrix: Any) -> None:
    with Archive.open(save(tmp_path / "a.ckpt", matrix=matrix)) as archive:
        assert tasks_of(archive) == {}


@pytest.mark.parametrize(("options", "name"), [("- 1\n", "finetune"), ("a: [", "finetune"), ("{}\n", "finetune")])
def test_options_that_name_no_learner_are_those_of_the_default(tmp_path: Path, options: str, name: str) -> None:
    with Archive.open(save(tmp_path / "a.ckpt", options, learner=[1])) as archive:
        assert learner_of(archive) == {"name": name, "remembers": []}
