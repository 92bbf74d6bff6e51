"""Divide structures among the tasks of a run: which of the training set are a task's, and what it is measured on.

The structures of all tasks lie one after another in one training set, so that a structure has the same number for the
loop, for a buffer and in a message. A run on a single data set has no tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from milepost.atoms.reading import Frame
from milepost.atoms.splitting import Split
from milepost.learning import DataSet, Task

HELD_OUT = ("validation", "test")

Splits = Sequence[tuple[str, Split]]
"""The name of each task, empty for a run that has none, and its split."""


def joined_frames(splits: Splits, name: str) -> list[Frame]:
    """Return the frames of a set of every task, one after another."""
    return [frame for _, split in splits for frame in split.frames[name]]


def divided(splits: Splits, make: Callable[[Sequence[Frame]], DataSet]) -> tuple[Task, ...]:
    """Return the tasks, their held-out sets made by `make`; none for a run that has none."""
    tasks: list[Task] = []
    first = 0
    for name, split in splits:
        if not name:
            return ()
        numbers = torch.arange(first, first + len(split.frames["training"]))
        first += len(numbers)
        tasks.append(Task(name, numbers, {held_out: make(split.frames[held_out]) for held_out in HELD_OUT}))
    return tuple(tasks)


def recorded(splits: Splits) -> dict[str, Any]:
    """Record which frames of which files are in which set, by the names of task and set."""
    record: dict[str, dict[str, Any]] = {}
    for task, split in splits:
        for kind, sets in split.record.items():
            named: Mapping[str, Any] = {f"{task}/{name}" if task else name: part for name, part in sets.items()}
            record.setdefault(kind, {}).update(named)
    return record
