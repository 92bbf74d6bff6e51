"""What a run says of itself comes back as it was written; older and newer files open."""

import json
import math
from pathlib import Path

import pytest

from milepost.run.record import BestValue, RunRecord, SavedCheckpoint, Share, read_record, record_text

OLD = {
    "run_id": "a",
    "identity": "b",
    "created": "2026-01-31T12:00:00+00:00",
    "state": "stopped",
    "step": 7,
    "note": "",
}


def read(folder: Path, content: object) -> RunRecord | None:
    path = folder / "run.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_record(path)


def test_all_of_it_comes_back(tmp_path: Path) -> None:
    record = RunRecord(
        "a", "b", "2026-01-31", 3, "failed", 7, "why", 70, 2,
        BestValue("validation/loss", 0.1, 5),
        SavedCheckpoint("step-00000007.ckpt", 7, "2026-01-31"),
        (Share(0, 4, "2026-01-31", None, {"torch": "2.13.0", "threads": 2}), Share(4, 7, "then", "later", {}, ("x",))),
    )  # fmt: skip
    assert read(tmp_path, record_text(record)) == record


def test_a_file_without_the_keys_of_today_opens(tmp_path: Path) -> None:
    found = read(tmp_path, OLD)
    assert found == RunRecord("a", "b", OLD["created"], state="stopped", step=7)
    assert (found.ordinal, found.best, found.total_steps, found.processes) == (0, None, None, ())


def test_keys_of_tomorrow_are_passed_over(tmp_path: Path) -> None:
    assert read(tmp_path, {**OLD, "new": 1, "best": {"metric": "x", "value": 1, "new": 2}}).best == BestValue("x", 1)


@pytest.mark.parametrize(
    "damaged",
    [
        {"ordinal": "3"},
        {"best": 3},
        {"best": {"metric": "x"}},
        {"best": {"metric": "x", "value": None}},
        {"last_checkpoint": {"name": 1, "step": 1, "time": ""}},
        {"processes": [3, {}]},
        {"processes": 3},
        {"total_steps": True},
    ],
)
def test_a_value_of_another_type_is_as_if_it_were_not_there(tmp_path: Path, damaged) -> None:
    assert read(tmp_path, {**OLD, **damaged}) == read(tmp_path, OLD)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        {},
        {**OLD, "run_id": 3},
        {**OLD, "state": "resting"},
        {k: OLD[k] for k in ("run_id", "state")},
    ],
)
def test_what_is_no_record_is_none(tmp_path: Path, content) -> None:
    assert read(tmp_path, content) is None


def test_no_file_is_none_and_one_that_can_not_be_read_an_error(tmp_path: Path) -> None:
    assert read_record(tmp_path / "run.json") is None
    (tmp_path / "run.json").mkdir()
    with pytest.raises(IsADirectoryError):
        read_record(tmp_path / "run.json")


def test_a_number_that_json_has_not_is_written_as_null(tmp_path: Path) -> None:
    record = RunRecord("a", "b", "c", best=BestValue("x", math.inf))
    assert '"value": null' in record_text(record)
    assert read(tmp_path, record_text(record)).best is None
