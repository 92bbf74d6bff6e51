"""What a record says is checked where it is saved, as it is where it is loaded."""

import string
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.checkpoint import BackgroundSaver, CheckpointRecord, Segment, load_checkpoint, save_checkpoint
from milepost.checkpoint.record import manifest_keys, read_record
from milepost.errors import UnsavableError

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"run_id": None}, "run_id: expected str, found None"),
    ({"step": 1.5}, r"step: expected int, found 1\.5"),
    ({"step": True}, "step: expected int, found True"),
    ({"epoch": 0.5}, r"epoch: expected int, found 0\.5"),
    ({"task": None}, "task: expected int, found None"),
    ({"created": 1}, "created: expected str, found 1"),
    ({"metrics": {"val_loss": None}}, r"metrics\.val_loss: expected a number, found None"),
    ({"metrics": {"ok": True}}, r"metrics\.ok: expected a number, found True"),
    ({"metrics": [0.5]}, r"metrics: expected an object, found \[0\.5\]"),
    ({"metadata": "text"}, "metadata: expected an object, found 'text'"),
    ({"environment": None}, "environment: expected an object, found None"),
    ({"versions": {"x": 1.0}}, r"versions\.x: expected an integer, found 1\.0"),
    ({"versions": {"training_state": 7}}, r"versions\.training_state: expected versions of other components"),
    ({"parents": "blake3:abc"}, "parents: expected a list of digests, found 'blake3:abc'"),
    ({"parents": (1,)}, r"parents: expected a list of digests, found \[1\]"),
    ({"parents": None}, "parents: expected a list of digests, found None"),
    ({"lineage": ("x",)}, "lineage: expected a list of objects"),
    ({"lineage": (Segment(0.5, {}),)}, "lineage: expected a list of objects"),  # type: ignore[arg-type]
    ({"lineage": (Segment(0, None),)}, "lineage: expected a list of objects"),  # type: ignore[arg-type]
    ({"step": 1.5, "epoch": "2"}, r"step: expected int, found 1\.5; epoch: expected int, found '2'"),
]


@pytest.mark.parametrize(("fields", "reason"), WRONG)
def test_a_record_that_would_not_load_is_not_saved(tmp_path: Path, fields: dict[str, Any], reason: str):
    with pytest.raises(UnsavableError, match=f"could not save the record: .*{reason}.*Convert them"):
        save_checkpoint(tmp_path / "x.ckpt", {}, record=CheckpointRecord(**fields))
    assert list(tmp_path.iterdir()) == []


def test_a_background_save_refuses_it_at_the_hand_over(tmp_path: Path):
    with BackgroundSaver() as saver, pytest.raises(UnsavableError, match="step: expected int"):
        saver.save(tmp_path / "x.ckpt", {}, record=CheckpointRecord(step=1.0))  # type: ignore[arg-type]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3) | st.just(1 << 1100),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.tuples(inner)
        | st.dictionaries(st.text(string.printable, max_size=2) | st.integers(0, 3), inner, max_size=2)
    ),
    max_leaves=3,
)
texts = st.dictionaries(st.text(max_size=2), anything, max_size=2)
segments = st.builds(Segment, st.integers(0, 3), texts)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "run_id": st.text(max_size=3),
    "step": st.integers(0),
    "epoch": st.integers(0),
    "task": st.integers(0),
    "created": st.text(max_size=3),
    "parents": st.lists(st.text(max_size=3), max_size=2).map(tuple),
    "metrics": st.dictionaries(st.text(max_size=2), st.floats(allow_nan=False) | st.integers(), max_size=2),
    "metadata": texts,
    "environment": texts,
    "versions": st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    "lineage": st.lists(segments, max_size=2).map(tuple),
}
records = st.fixed_dictionaries({}, optional={name: kind | anything for name, kind in GOOD.items()})


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=records)
def test_whatever_is_saved_without_an_error_loads(tmp_path: Path, fields: dict[str, Any]):
    path = tmp_path / "x.ckpt"
    path.unlink(missing_ok=True)
    record = CheckpointRecord(**fields)
    try:
        save_checkpoint(path, {"x": [1]}, record=record, durability="process")
    except UnsavableError:
        assert not path.exists()
        return
    with load_checkpoint(path) as checkpoint:
        assert checkpoint.verify() == []
        for name, value in fields.items():
            if value or name != "environment":
                assert getattr(checkpoint.record, name) == (tuple(value) if isinstance(value, list) else value)


@settings(deadline=None)
@given(fields=st.fixed_dictionaries({}, optional=GOOD))
def test_what_is_of_the_documented_types_is_not_refused(fields: dict[str, Any]):
    record = CheckpointRecord(**fields)
    assert read_record(manifest_keys(record)) == record


@pytest.mark.parametrize("given", [None, CheckpointRecord(step=3)])
def test_the_environment_is_filled_in_where_it_is_left_empty(tmp_path: Path, given: CheckpointRecord | None):
    save_checkpoint(tmp_path / "x", {"model": torch.nn.Linear(1, 1)}, record=given)
    with load_checkpoint(tmp_path / "x") as checkpoint:
        assert checkpoint.record.environment["torch"] == str(torch.__version__)
        assert checkpoint.record.environment["device"] == "cpu"


def test_an_environment_that_is_given_is_kept(tmp_path: Path):
    save_checkpoint(tmp_path / "x", {}, record=CheckpointRecord(environment={"torch": "1"}))
    with load_checkpoint(tmp_path / "x") as checkpoint:
        assert checkpoint.record.environment == {"torch": "1"}
