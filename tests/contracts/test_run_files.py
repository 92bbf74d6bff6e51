"""The keys of the files that a run leaves for people and programs: changed on purpose, and documented."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from milepost.learning.matrix import TaskMatrix
from milepost.run.heartbeat import Heartbeat
from milepost.run.owner import Owner
from milepost.run.record import BestValue, RunRecord, SavedCheckpoint, Share

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "files.md"
KEYS = {
    RunRecord: [
        "run_id", "identity", "created", "ordinal", "state", "step", "note", "total_steps", "epoch", "best",
        "last_checkpoint", "processes",
    ],
    BestValue: ["metric", "value", "step"],
    SavedCheckpoint: ["name", "step", "time"],
    Share: ["first_step", "last_step", "started", "ended", "environment", "changes"],
    Owner: ["host", "pid", "start", "boot", "namespace", "since", "token"],
}  # fmt: skip
PROGRESS = [
    "phase", "step", "total_steps", "epoch", "loss", "learning_rate", "steps_per_second", "seconds_left", "time",
]  # fmt: skip
TASKS = ["format", "tasks", "metrics", "joint", "before", "rows", "history", "scores"]
SCORES = ["average", "forgetting", "backward_transfer", "forward_transfer"]


def section(title: str) -> str:
    """Return a section of the page."""
    return PAGE.read_text(encoding="utf-8").split(f"### {title}\n")[1].split("\n#")[0]


@pytest.mark.parametrize("kind", KEYS, ids=lambda kind: kind.__name__)
def test_a_record_has_these_keys(kind: type) -> None:
    assert [item.name for item in fields(kind)] == KEYS[kind]


def test_the_heartbeat_has_these_keys(tmp_path: Path) -> None:
    Heartbeat(tmp_path / "progress.json").phase("training")
    assert list(json.loads((tmp_path / "progress.json").read_text())) == PROGRESS


@pytest.mark.parametrize("key", [key for kind in (RunRecord, BestValue, SavedCheckpoint, Share) for key in KEYS[kind]])
def test_a_key_of_the_record_is_documented(key: str) -> None:
    assert f"`{key}`" in section("What `run.json` says")


@pytest.mark.parametrize("key", PROGRESS)
def test_a_key_of_the_heartbeat_is_documented(key: str) -> None:
    assert f"`{key}`" in section("What `progress.json` says")


def test_the_matrix_of_tasks_has_these_keys(tmp_path: Path) -> None:
    TaskMatrix(["a", "b"], {"accuracy": "max"}).write(tmp_path)
    content = json.loads((tmp_path / "tasks.json").read_text())
    assert list(content) == TASKS
    assert list(content["scores"]["accuracy"]) == SCORES


@pytest.mark.parametrize("key", [*TASKS, *SCORES])
def test_a_key_of_the_matrix_is_documented(key: str) -> None:
    assert f"`{key}`" in section("What `tasks.json` says")
