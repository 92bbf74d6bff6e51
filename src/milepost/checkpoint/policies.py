"""When to save, and what to keep: small pure rules that compose.

Promise: a policy's answer depends on its arguments only. Several policies are a union: save when any is due,
keep what any keeps.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from milepost.checkpoint.catalogue import CatalogueEntry


@dataclass(frozen=True)
class Progress:
    """How far a run is: optimizer steps, completed epochs, seconds on a clock that never goes back, completed tasks,
    and whether it was asked to stop.
    """

    step: int
    epoch: int
    seconds: float
    task: int = 0
    stopping: bool = False


class SavePolicy(Protocol):
    """Decide when to save."""

    def due(self, previous: Progress, now: Progress) -> bool:
        """Tell whether a checkpoint is due `now`, the last having been saved at `previous`."""
        ...


class KeepPolicy(Protocol):
    """Decide what to keep."""

    def kept(self, entries: Sequence[CatalogueEntry]) -> frozenset[Path]:
        """Return the paths of those of one run's `entries` that must stay."""
        ...


@dataclass(frozen=True)
class EverySteps:
    """Save whenever a multiple of `count` steps has been passed."""

    count: int

    def __post_init__(self) -> None:
        _check_at_least(self, "count", self.count, 1)

    def due(self, previous: Progress, now: Progress) -> bool:
        """Tell whether a multiple lies after `previous` and not after `now`."""
        return now.step // self.count > previous.step // self.count


@dataclass(frozen=True)
class EveryEpochs:
    """Save whenever a multiple of `count` epochs has been completed."""

    count: int = 1

    def __post_init__(self) -> None:
        _check_at_least(self, "count", self.count, 1)

    def due(self, previous: Progress, now: Progress) -> bool:
        """Tell whether a multiple lies after `previous` and not after `now`."""
        return now.epoch // self.count > previous.epoch // self.count


@dataclass(frozen=True)
class EveryMinutes:
    """Save when `minutes` have passed since the last save."""

    minutes: float

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ValueError(f"could not build EveryMinutes: expected minutes above 0, found {self.minutes}")

    def due(self, previous: Progress, now: Progress) -> bool:
        """Tell whether the time has passed."""
        return now.seconds - previous.seconds >= 60 * self.minutes


@dataclass(frozen=True)
class EachTask:
    """Save whenever a task has been completed."""

    def due(self, previous: Progress, now: Progress) -> bool:
        """Tell whether a task ended after `previous` and not after `now`."""
        return now.task > previous.task


@dataclass(frozen=True)
class OnSignal:
    """Save when the run was asked to stop, unless it stands where it was saved last."""

    def due(self, previous: Progress, now: Progress) -> bool:
        """Tell whether the run is about to stop with something that is not saved."""
        return now.stopping and (now.step, now.task) != (previous.step, previous.task)


@dataclass(frozen=True)
class KeepLast:
    """Keep the `count` checkpoints that got furthest."""

    count: int

    def __post_init__(self) -> None:
        _check_at_least(self, "count", self.count, 0)

    def kept(self, entries: Sequence[CatalogueEntry]) -> frozenset[Path]:
        """Return the furthest of the sound entries."""
        ordered = sorted(_sound(entries), key=_furthest)
        return frozenset(entry.path for entry in ordered[max(len(ordered) - self.count, 0) :])


@dataclass(frozen=True)
class KeepBest:
    """Keep the `count` checkpoints with the best value of a metric in their records.

    NaN and infinities are never best; of equal values the earlier step is better.
    """

    count: int
    metric: str
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        _check_at_least(self, "count", self.count, 0)
        if self.mode not in ("min", "max"):
            raise ValueError(f"could not build KeepBest: expected mode 'min' or 'max', found {self.mode!r}")

    def kept(self, entries: Sequence[CatalogueEntry]) -> frozenset[Path]:
        """Return the best of the sound entries that have the metric."""
        return frozenset(entry.path for entry in ranked(entries, self.metric, self.mode)[: self.count])


@dataclass(frozen=True)
class KeepTasks:
    """Keep the checkpoint of each task that got furthest: with `EachTask`, the one saved when the task ended."""

    def kept(self, entries: Sequence[CatalogueEntry]) -> frozenset[Path]:
        """Return the furthest of the sound entries of each task."""
        ordered = sorted(_sound(entries), key=_furthest)
        return frozenset({entry.record.task: entry.path for entry in ordered if entry.record is not None}.values())


def ranked(entries: Sequence[CatalogueEntry], metric: str, mode: Literal["min", "max"] = "min") -> list[CatalogueEntry]:
    """Order the sound entries that have a finite `metric`, best first."""
    sign = 1 if mode == "min" else -1
    scored = [
        (sign * entry.record.metrics[metric], entry.step, entry.path.name, entry)
        for entry in _sound(entries)
        if entry.record is not None and math.isfinite(entry.record.metrics.get(metric, math.nan))
    ]
    return [entry for *_, entry in sorted(scored, key=lambda item: item[:3])]


def any_due(policies: Iterable[SavePolicy], previous: Progress, now: Progress) -> bool:
    """Tell whether any policy wants a checkpoint now."""
    return any(policy.due(previous, now) for policy in policies)


def all_kept(policies: Iterable[KeepPolicy], entries: Sequence[CatalogueEntry]) -> frozenset[Path]:
    """Return what any policy keeps."""
    return frozenset[Path]().union(*(policy.kept(entries) for policy in policies))


def _sound(entries: Sequence[CatalogueEntry]) -> list[CatalogueEntry]:
    return [entry for entry in entries if entry.record is not None and not entry.damage]


def _furthest(entry: CatalogueEntry) -> tuple[int, str]:
    return entry.step, entry.path.name


def _check_at_least(policy: object, name: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise ValueError(
            f"could not build {type(policy).__name__}: expected {name} of at least {minimum}, found {value}"
        )
