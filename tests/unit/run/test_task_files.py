"""Checkpoints of tasks get Mammoth's names, and never those of another run."""

import os
import re
from pathlib import Path

import pytest
import torch

from milepost.archive import kind_of
from milepost.checkpoint import CheckpointRecord, load_checkpoint, save_checkpoint
from milepost.run import task_files
from milepost.run.task_files import TaskFiles, data_name, publish_task, task_base

CREATED = "2026-01-31T12:00:05.250000+01:00"
BASE = "derpp_seq-mnist_500_1_20260131-120005"


def saved(path: Path, run_id: str, step: int = 3) -> Path:
    """Save a checkpoint of a run."""
    record = CheckpointRecord(run_id, step=step)
    save_checkpoint(path, {"model": {"w": torch.full((2,), float(step))}}, record=record, durability="process")
    return path


def put(folder: Path, checkpoint: Path, task: int | None, run_id: str, base: str = BASE) -> Path:
    return publish_task(checkpoint, folder, base, task, run_id, durability="process")


def test_a_name_has_the_parts_of_mammoth_s() -> None:
    base = task_base(learner="derpp", data="seq-mnist", buffer_size=500, epochs=1, created=CREATED)
    assert base == BASE
    named = task_base(learner="oewc", data="perm-mnist", buffer_size=None, epochs=5, created=CREATED, given="mine")
    assert named == "mine_oewc_perm-mnist_0_5_20260131-120005"
    measured = task_base(learner="er", data="x", buffer_size=9, epochs=100, steps=300, created=CREATED)
    assert measured == "er_x_9_300steps_20260131-120005", "the run has no use for the 100"


def test_parts_hold_nothing_that_separates_them() -> None:
    base = task_base(learner="my_own", data="a b/c", buffer_size=0, epochs=1, created=CREATED)
    assert base == "my-own_a-b-c_0_1_20260131-120005"
    assert re.fullmatch(r"[\w.+-]+", base)
    assert task_base(learner="__", data="x", buffer_size=1, epochs=1, created=CREATED).startswith("unnamed_x_1_1_")


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ({"benchmark": "seq-mnist", "data_dir": "x"}, "seq-mnist"),
        ([{"name": "300 K"}, {"name": "700 K"}], "300-K+700-K"),
        ([{"name": "a" * 40}, {"name": "b" * 40}, {"name": "c"}], "3-tasks"),
        (None, "1-tasks"),
    ],
)
def test_data_are_named_by_what_is_learned(tasks: object, expected: str) -> None:
    assert data_name(tasks) == expected


def test_every_task_has_its_file(tmp_path: Path) -> None:
    checkpoint, folder = saved(tmp_path / "step-00000003.ckpt", "a"), tmp_path / "checkpoints"
    made = [put(folder, checkpoint, task, "a") for task in (0, 1, None)]
    assert [path.name for path in made] == [f"{BASE}_0.ckpt", f"{BASE}_1.ckpt", f"{BASE}_joint.ckpt"]
    assert sorted(folder.iterdir()) == sorted(made)
    assert made[0].read_bytes() == checkpoint.read_bytes()


def test_a_copy_does_not_go_with_its_original(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "step.ckpt", "a")
    made = put(tmp_path / "checkpoints", checkpoint, 0, "a")
    checkpoint.unlink()
    with load_checkpoint(made) as opened:
        assert opened.verify() == []


def test_a_run_replaces_its_own_file_only(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    first = put(folder, saved(tmp_path / "a.ckpt", "a"), 0, "a")
    again = put(folder, saved(tmp_path / "a2.ckpt", "a", step=4), 0, "a")
    other = put(folder, saved(tmp_path / "b.ckpt", "b"), 0, "b")
    assert (again, other.name) == (first, f"{BASE}-2_0.ckpt")
    with load_checkpoint(first) as opened:
        assert (opened.record.run_id, opened.record.step) == ("a", 4)
    # The names of a run are of one kind, whatever the other run has put there until then.
    assert put(folder, saved(tmp_path / "b2.ckpt", "b"), 1, "b").name == f"{BASE}-2_1.ckpt"
    assert put(folder, saved(tmp_path / "a3.ckpt", "a"), 1, "a").name == f"{BASE}_1.ckpt"
    assert put(folder, saved(tmp_path / "c.ckpt", "c"), 1, "c").name == f"{BASE}-3_1.ckpt"


def test_a_file_of_nobody_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / f"{BASE}_0.ckpt").write_text("mine")
    (folder / f"{BASE}_0.pt").write_text("Mammoth's own files don't count")
    made = put(folder, saved(tmp_path / "a.ckpt", "a"), 0, "a")
    assert made.name == f"{BASE}-2_0.ckpt"
    assert (folder / f"{BASE}_0.ckpt").read_text() == "mine"


def test_a_name_that_is_taken_this_very_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "checkpoints"
    other, write = saved(tmp_path / "b.ckpt", "b"), task_files.atomic_write

    def racing(target: Path, *arguments: object, **keywords: object) -> None:
        if target.name == f"{BASE}_0.ckpt":
            os.link(other, target)
        write(target, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(task_files, "atomic_write", racing)
    assert put(folder, saved(tmp_path / "a.ckpt", "a"), 0, "a").name == f"{BASE}-2_0.ckpt"
    assert (folder / f"{BASE}_0.ckpt").read_bytes() == other.read_bytes()


def test_drafts_of_a_killed_process_go(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / f".{BASE}_0.ckpt.0123abcd.draft").write_text("half")
    (folder / ".other_0.ckpt.0123abcd.draft").write_text("somebody else's")
    put(folder, saved(tmp_path / "a.ckpt", "a"), 0, "a")
    assert sorted(path.name for path in folder.iterdir()) == [".other_0.ckpt.0123abcd.draft", f"{BASE}_0.ckpt"]


@pytest.mark.parametrize(
    ("which", "last", "expected"),
    [("task", 2, ["0", "1", "2"]), ("last", 2, ["2"]), ("task", None, ["joint"]), ("last", None, ["joint"])],
)
def test_of_each_task_or_of_the_last(tmp_path: Path, which: task_files.Which, last: int | None, expected: list[str]):
    files = TaskFiles(tmp_path / "checkpoints", BASE, which, last, "process")
    checkpoint = saved(tmp_path / "a.ckpt", "a")
    made = [files.ended(checkpoint, task, "a") for task in ((0, 1, 2) if last else (0,))]
    names = [path.stem.removeprefix(f"{BASE}_") for path in made if path is not None]
    assert names == expected
    assert all(kind_of(path) == "checkpoint" for path in made if path is not None)
