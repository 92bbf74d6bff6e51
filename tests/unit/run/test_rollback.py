"""Which checkpoints a rollback may go back to, and which are kept for it; how it ends is in tests/lifecycle."""

from pathlib import Path

import pytest

from milepost.checkpoint import CatalogueEntry, CheckpointRecord
from milepost.errors import DivergedError
from milepost.options import CheckpointsOptions
from milepost.run.rollback import Intervals, KeepForRollback, stop


def intervals(steps=None, epochs=None, minutes=None):
    return Intervals(
        CheckpointsOptions(every_steps=steps, every_epochs=epochs, every_minutes=minutes), lambda step: step // 6
    )


def entry(step, damage=()):
    return CatalogueEntry(Path(f"step-{step}"), CheckpointRecord("run", step), "digest", damage)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (intervals(steps=4), [0, 4, 8, 12]),
        (intervals(epochs=1), [0, 6, 12]),
        (intervals(steps=4, epochs=2), [0, 4, 8, 12]),
        (intervals(steps=4, epochs=1), [0, 4, 6, 8, 12]),
        (intervals(minutes=5), list(range(13))),
        (intervals(), list(range(13))),
    ],
)
def test_checkpoints_at_intervals_of_steps_and_epochs_count(given, expected):
    assert [step for step in range(13) if given.ask(step)] == expected


def test_between_two_steps_is_looked_for_without_counting_them():
    assert intervals(steps=10**9).between(1, 10**12)
    assert not intervals(steps=4).between(5, 7)
    assert not intervals(steps=4).between(8, 7)


def test_the_furthest_at_the_intervals_are_kept():
    entries = [entry(step) for step in (2, 4, 5, 6, 8, 9)] + [entry(10, ("bad",))]
    kept = KeepForRollback(2, intervals(steps=2)).kept(entries)
    assert {path.name for path in kept} == {"step-6", "step-8"}
    assert KeepForRollback(9, intervals(steps=2)).kept([]) == frozenset()


def test_without_rollback_the_error_comes_out():
    error = DivergedError("no number")
    with pytest.raises(DivergedError) as caught:
        stop(error)
    assert caught.value is error
