"""When to save and what to keep, as pure functions."""

import math
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from milepost.checkpoint import (
    CatalogueEntry,
    CheckpointRecord,
    EachTask,
    EveryEpochs,
    EveryMinutes,
    EverySteps,
    KeepBest,
    KeepLast,
    KeepTasks,
    OnSignal,
    Progress,
    all_kept,
    any_due,
    ranked,
)


def at(step: int = 0, epoch: int = 0, seconds: float = 0.0, task: int = 0, *, stopping: bool = False) -> Progress:
    return Progress(step, epoch, seconds, task, stopping)


def entry(step: int, damage: tuple[str, ...] = (), task: int = 0, **metrics: float) -> CatalogueEntry:
    return CatalogueEntry(Path(f"step-{step}"), CheckpointRecord("r", step, task=task, metrics=metrics), "d", damage)


def names(paths: Any) -> list[str]:
    return sorted(path.name for path in paths)


UNREADABLE = CatalogueEntry(Path("broken"), None, None, ("x",))


@pytest.mark.parametrize(
    ("policy", "previous", "now", "due"),
    [
        (EverySteps(10), at(0), at(9), False),
        (EverySteps(10), at(0), at(10), True),
        (EverySteps(10), at(10), at(10), False),
        (EverySteps(10), at(17), at(20), True),
        (EverySteps(10), at(10), at(35), True),
        (EveryEpochs(2), at(epoch=1), at(epoch=1), False),
        (EveryEpochs(2), at(epoch=1), at(epoch=2), True),
        (EveryEpochs(), at(epoch=1), at(epoch=2), True),
        (EveryMinutes(0.5), at(seconds=100), at(seconds=129.9), False),
        (EveryMinutes(0.5), at(seconds=100), at(seconds=130), True),
        (EachTask(), at(10, task=1), at(20, task=1), False),
        (EachTask(), at(10, task=1), at(20, task=2), True),
        (EachTask(), at(10, task=1), at(20, task=4), True),
        (OnSignal(), at(10), at(11), False),
        (OnSignal(), at(10), at(11, stopping=True), True),
        (OnSignal(), at(10), at(10, stopping=True), False),
        (OnSignal(), at(10), at(10, task=1, stopping=True), True),
    ],
)
def test_due(policy: Any, previous: Progress, now: Progress, due: bool):
    assert policy.due(previous, now) is due
    assert any_due([EverySteps(10**9), policy], previous, now) is due


def test_no_policy_is_never_due():
    assert not any_due([], at(0), at(10**6))


def test_keep_last_keeps_the_furthest_of_the_sound():
    entries = [entry(3), entry(20), entry(1), entry(30, damage=("x",)), UNREADABLE]
    assert names(KeepLast(2).kept(entries)) == ["step-20", "step-3"]
    assert names(KeepLast(9).kept(entries)) == ["step-1", "step-20", "step-3"]
    assert names(KeepLast(0).kept(entries)) == []


def test_keep_best_by_metric():
    entries = [entry(1, a=3.0), entry(2, a=1.0), entry(3, a=2.0), entry(4), entry(5, b=0.0), UNREADABLE]
    assert names(KeepBest(1, "a").kept(entries)) == ["step-2"]
    assert names(KeepBest(2, "a").kept(entries)) == ["step-2", "step-3"]
    assert names(KeepBest(1, "a", "max").kept(entries)) == ["step-1"]
    assert names(KeepBest(9, "a").kept(entries)) == ["step-1", "step-2", "step-3"]
    assert names(KeepBest(1, "absent").kept(entries)) == []


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_finite_number_is_never_best(mode: Any, value: float):
    assert names(KeepBest(1, "a", mode).kept([entry(1, a=value), entry(2, a=5.0), entry(3, a=value)])) == ["step-2"]
    assert KeepBest(1, "a", mode).kept([entry(1, a=value)]) == frozenset()


@pytest.mark.parametrize("mode", ["min", "max"])
def test_of_equal_values_the_earlier_is_better(mode: Any):
    order = ranked([entry(10, a=1.0), entry(9, a=1.0), entry(100, a=1.0)], "a", mode)
    assert [item.step for item in order] == [9, 10, 100]


def test_keep_tasks_keeps_the_furthest_sound_checkpoint_of_each():
    ended = [entry(10, task=0), entry(20, task=1), entry(30, task=2)]
    others = [entry(5, task=0), entry(9, task=0), entry(15, task=1), entry(40, ("x",), task=2), UNREADABLE]
    assert names(KeepTasks().kept([*others, *ended])) == ["step-10", "step-20", "step-30"]
    assert names(KeepTasks().kept([*ended, *others])) == ["step-10", "step-20", "step-30"]
    assert KeepTasks().kept([]) == frozenset()


def test_policies_compose_to_a_union():
    entries = [entry(1, a=1.0), entry(2, a=2.0), entry(3, a=3.0)]
    assert names(all_kept([KeepLast(1), KeepBest(1, "a")], entries)) == ["step-1", "step-3"]
    assert all_kept([], entries) == frozenset()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: EverySteps(0), "could not build EverySteps: expected count of at least 1, found 0"),
        (lambda: EveryEpochs(-1), "could not build EveryEpochs: expected count of at least 1, found -1"),
        (lambda: EveryMinutes(0), "could not build EveryMinutes: expected minutes above 0, found 0"),
        (lambda: EveryMinutes(math.nan), "expected minutes above 0, found nan"),
        (lambda: KeepLast(-1), "could not build KeepLast: expected count of at least 0, found -1"),
        (lambda: KeepBest(-1, "a"), "could not build KeepBest: expected count of at least 0, found -1"),
        (lambda: KeepBest(1, "a", "best"), "expected mode 'min' or 'max', found 'best'"),  # type: ignore[arg-type]
    ],
)
def test_a_policy_that_means_nothing_is_refused(make: Any, reason: str):
    with pytest.raises(ValueError, match=reason):
        make()


def test_policies_are_immutable():
    policy: Any = KeepLast(1)
    with pytest.raises(FrozenInstanceError):
        policy.count = 2
