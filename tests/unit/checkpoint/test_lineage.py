"""A lineage grows where the environment differs, and only there."""

import pytest

from milepost.checkpoint import CheckpointRecord, Segment
from milepost.checkpoint.lineage import changes, extended, read_lineage, segment_values
from milepost.checkpoint.record import manifest_keys, read_record
from milepost.errors import ArchiveError

HERE = {"torch": "2.12.0", "threads": 2}
THERE = {"torch": "2.13.0", "threads": 2}


def test_only_what_differs_is_said():
    assert changes(HERE, THERE) == ["torch 2.12.0 → 2.13.0"]
    assert changes(HERE, dict(HERE)) == []


def test_what_one_side_does_not_tell_is_no_difference():
    assert changes({"torch": "2.12.0"}, HERE) == []
    assert changes(HERE, {"threads": 2}) == []


def test_a_segment_is_added_only_where_the_environment_differs():
    begun = extended((), 0, HERE)
    assert begun == (Segment(0, HERE),)
    assert extended(begun, 7, dict(HERE)) == begun
    moved = extended(begun, 7, THERE)
    assert moved == (Segment(0, HERE), Segment(7, THERE))
    assert extended(moved, 9, HERE) == (*moved, Segment(9, HERE)), "going back is a change as well"


def test_what_is_written_is_read_back():
    lineage = (Segment(0, HERE), Segment(7, THERE))
    assert read_lineage([segment_values(segment) for segment in lineage]) == lineage
    record = CheckpointRecord(run_id="r", lineage=lineage)
    assert read_record(manifest_keys(record)) == record


def test_a_file_without_a_lineage_is_read():
    keys = manifest_keys(CheckpointRecord(run_id="r"))
    del keys["lineage"]
    assert read_record(keys).lineage == ()


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ("text", "found 'text'"),
        ([{"step": 0}], "found {'step': 0}"),
        ([{"step": "0", "environment": {}}], "found {'step': '0', 'environment': {}}"),
        ([{"step": True, "environment": {}}], "found {'step': True, 'environment': {}}"),
        ([{"step": 0, "environment": {}}, 3], "found 3"),
        ([{"step": 0, "environment": []}], "found {'step': 0, 'environment': []}"),
    ],
)
def test_what_is_no_lineage_is_refused(wrong: object, shown: str):
    keys = manifest_keys(CheckpointRecord(run_id="r")) | {"lineage": wrong}
    with pytest.raises(ArchiveError) as caught:
        read_record(keys)
    assert "lineage: expected a list of objects with a step and an environment, " + shown in str(caught.value)
