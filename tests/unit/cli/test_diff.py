"""`milepost diff` prints what differs and says in its status whether anything does."""

import json
from pathlib import Path

import pytest
import torch

from milepost.checkpoint import CheckpointRecord, save_checkpoint


def save(path: Path, step: int = 4, **state: object) -> Path:
    record = CheckpointRecord("run", step=step, created="2026-01-01T00:00:00+00:00")
    save_checkpoint(path, state, options_yaml=f"seed: {step}\n", record=record, durability="process")
    return path


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return save(
        tmp_path / "a.ckpt",
        model={"w": torch.ones(2, 3), "zero": torch.zeros(1), "kind": torch.ones(2), "old": torch.ones(1)},
        loop={"position": 1},
        gone={},
    )


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return save(
        tmp_path / "b.ckpt",
        step=8,
        model={
            "w": torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.25]]),
            "zero": -torch.zeros(1),
            "kind": torch.ones(2, dtype=torch.float64),
            "new": torch.ones(()),
        },
        loop={"position": 2},
        ema={"w": torch.tensor([float("inf")])},
    )


def test_what_differs(milepost, a: Path, b: Path) -> None:
    ended = milepost("diff", a, b)
    assert ended.status == 1
    assert ended.err == ""
    assert ended.out.splitlines() == [
        f"a: {a}",
        f"b: {b}",
        "",
        "options",
        "  seed: 4 → 8",
        "",
        "record",
        "  step: 4 → 8",
        "",
        "values",
        "  loop.position: 1 → 2",
        "",
        "components",
        "  gone: only in a",
        "  ema: only in b",
        "",
        "tensors: 0 tensors equal, 5 not",
        "  model.w: 1 of 6 numbers differ, by at most 0.25, relative 0.2",
        "  model.zero: equal numbers in different bytes (the sign of a zero, or NaNs)",
        "  model.kind: F32 [2] → F64 [2]",
        "  model.old: only in a, F32 [1]",
        "  model.new: only in b, F32 []",
    ]


def test_nothing_differs(milepost, a: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(a.read_bytes())
    ended = milepost("diff", a, copy)
    assert ended.status == 0
    assert ended.out == f"a: {a}\nb: {copy}\nnothing differs; 4 tensors equal\n"
    assert json.loads(milepost("diff", "--json", a, copy).out)["equal"] is True


def test_json(milepost, a: Path, b: Path) -> None:
    ended = milepost("diff", "--json", a, b)
    assert ended.status == 1
    found = json.loads(ended.out)
    assert found["a"] == str(a)
    assert found["equal"] is False
    assert found["options"] == [{"key": "seed", "a": 4, "b": 8}]
    assert found["metadata"] == found["environment"] == found["versions"] == found["files"] == []
    assert found["components"] == {"only_in_a": ["gone"], "only_in_b": ["ema"]}
    rows = {row["name"]: row for row in found["tensors"]}
    assert rows["model.w"] == {
        "name": "model.w",
        "a": {"dtype": "F32", "shape": [2, 3]},
        "b": {"dtype": "F32", "shape": [2, 3]},
        "differing": 1,
        "numbers": 6,
        "absolute": 0.25,
        "relative": 0.2,
    }
    assert rows["model.new"] == {"name": "model.new", "b": {"dtype": "F32", "shape": []}}


def test_infinite_differences_are_json(milepost, tmp_path: Path) -> None:
    one = save(tmp_path / "1.ckpt", model=torch.tensor([1.0]))
    other = save(tmp_path / "2.ckpt", model=torch.tensor([float("nan")]))
    (row,) = json.loads(milepost("diff", "--json", one, other).out)["tensors"]
    assert (row["name"], row["absolute"], row["relative"]) == ("model", "inf", "inf")


def test_files_are_said_to_differ_without_their_digests(milepost, tmp_path: Path) -> None:
    record = CheckpointRecord(created="2026-01-01T00:00:00+00:00")
    for name, source in (("a", {"m.py": b"1", "o.py": b""}), ("b", {"m.py": b"2", "n.py": b""})):
        save_checkpoint(tmp_path / name, {}, source=source, record=record, durability="process")
    assert milepost("diff", tmp_path / "a", tmp_path / "b").out.splitlines()[2:] == [
        "",
        "files",
        "  source/m.py: differs",
        "  source/o.py: only in a",
        "  source/n.py: only in b",
        "",
        "tensors: 0 tensors equal, 0 not",
    ]


def test_trouble_is_status_2(milepost, a: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.txt"
    other.write_text("hello")
    ended = milepost("diff", a, other)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err == (
        f"error: could not compare '{other}': expected a checkpoint or a file of tensors, found something else. "
        "`milepost show` says what it is.\n"
    )
    ended = milepost("diff", a, tmp_path / "none.ckpt")
    assert ended.status == 2
    assert ended.err == (
        f"error: could not use '{tmp_path / 'none.ckpt'}': No such file or directory. "
        "Check the path and its permissions.\n"
    )
    assert milepost("diff", a).status == 2


def test_a_file_of_another_program_says_what_was_compared(milepost, a: Path, tmp_path: Path) -> None:
    other = tmp_path / "a.pt"
    torch.save(
        {"w": torch.ones(2, 3), "zero": torch.zeros(1), "kind": torch.ones(2), "old": torch.full((1,), 2.0)}, other
    )
    ended = milepost("diff", a, other)
    assert ended.status == 1
    assert ended.out.splitlines() == [
        f"a: {a}, component 'model'",
        f"b: {other}, all of a torch state dict",
        "",
        "tensors: 3 tensors equal, 1 not",
        "  old: 1 of 1 numbers differ, by at most 1, relative 0.5",
    ]
    assert json.loads(milepost("diff", "--json", a, other).out)["compared"]["a"] == "component 'model'"
