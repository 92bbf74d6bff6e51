"""Lay out a whole run, from its first step to its last, before any is taken: tasks, passes, batches.

A run is a row of legs: steps on the same examples. Without tasks there is one leg; a learner may plan several for each
task. Promise: a course is a pure function of seed, options and sizes of the data, so that a number of steps says
everything about where a run stands. Looking up a step costs the same wherever it is.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from milepost.learning import Batch, DataSet, Learner, Stretch, Task
from milepost.options import TrainingOptions
from milepost.run.order import BatchOrder


@dataclass(frozen=True)
class Leg:
    """Hold steps on the same examples: those from `first` on, `steps` of them.

    `members` are the numbers of its examples in the run's data; None for all, in their order. `epochs_before` counts
    passes of the legs before. `begins` and `ends` tell whether it is a task's first or last one.
    """

    task: int
    stretch: Stretch
    first: int
    steps: int
    order: BatchOrder
    members: Tensor | None
    epochs_before: int
    begins: bool
    ends: bool

    @property
    def last(self) -> int:
        """The number of steps done when this leg is."""
        return self.first + self.steps

    @property
    def epochs(self) -> int:
        """The passes that it begins."""
        return -(-self.steps // self.order.steps_per_epoch)


class Course:
    """Say of every step, counted from 0 over the whole run, what it belongs to and which examples it takes."""

    def __init__(self, legs: Iterable[Leg], tasks: int) -> None:
        self.legs = tuple(legs)
        self.tasks = tasks
        self.total_steps = self.legs[-1].last
        self._ends = [leg.last for leg in self.legs]

    def leg(self, step: int) -> Leg:
        """Return the leg that a step to be taken belongs to; the last one for the end of the run."""
        return self.legs[min(bisect_right(self._ends, step), len(self.legs) - 1)]

    def ended(self, step: int) -> Leg | None:
        """Return the leg whose last step was the last of so many; None in the middle of one."""
        leg = self.leg(step - 1) if step else None
        return leg if leg is not None and leg.last == step else None

    def indices(self, step: int) -> Tensor:
        """Return the examples of a step."""
        return torch.cat(self.batches(step))

    def batches(self, step: int) -> tuple[Tensor, ...]:
        """Return the examples of each batch of a step."""
        leg = self.leg(step)
        parts = leg.order.batches(step - leg.first)
        return parts if leg.members is None else tuple(leg.members.index_select(0, part) for part in parts)

    def epoch(self, step: int) -> int:
        """Return how many passes are complete when so many steps are done, or the one that the next step belongs to."""
        leg = self.leg(step)
        return leg.epochs_before + (step - leg.first) // leg.order.steps_per_epoch

    def horizon(self, step: int) -> int:
        """Return the step up to which batches can be made ahead of time."""
        return self.leg(step).last

    def task(self, step: int) -> int:
        """Return the task that the last of so many steps belongs to; 0 before the first."""
        return self.leg(max(0, step - 1)).task

    def tasks_done(self, step: int) -> int:
        """Return how many tasks are complete when so many steps are done."""
        return sum(leg.ends and leg.last <= step for leg in self.legs)

    def first_step(self, task: int) -> int:
        """Return how many steps come before a task; all of them for the number behind the last task's."""
        return next((leg.first for leg in self.legs if leg.task == task), self.total_steps)

    def pass_ended(self, step: int, every: int) -> bool:
        """Tell whether the last of so many steps ended a pass, or every so-manieth one, or a leg."""
        if self.ended(step) is not None:
            return True
        leg = self.leg(step)
        return (step - leg.first) % leg.order.steps_per_epoch == 0 and self.epoch(step) % every == 0


def lay_out(seed: int, training: TrainingOptions, examples: DataSet, tasks: Sequence[Task], learner: Learner) -> Course:
    """Plan a run. `tasks` are those that are learned, in turn; a single one takes all examples in their order."""
    legs: list[Leg] = []
    first = epochs = 0
    for number, task in enumerate(tasks):
        stretches = learner.stretches(number)
        for place, stretch in enumerate(stretches):
            members = _members(examples, tasks, task, stretch)
            count = len(examples) if members is None else len(members)
            order = BatchOrder(
                seed,
                count,
                training.batch_size,
                task=number,
                accumulate=training.accumulate_batches,
                first_epoch=epochs if number or place else 0,
            )
            passes = training.epochs if stretch.epochs is None else stretch.epochs
            own = training.steps is not None and stretch.epochs is None
            steps = (training.steps or 0) if own else passes * order.steps_per_epoch
            begins, ends = place == 0, place == len(stretches) - 1
            legs.append(Leg(number, stretch, first, steps, order, members, epochs, begins, ends))
            first, epochs = legs[-1].last, epochs + legs[-1].epochs
    return Course(legs, len(tasks))


def _members(examples: DataSet, tasks: Sequence[Task], task: Task, stretch: Stretch) -> Tensor | None:
    """Return the numbers of a leg's examples; those of a buffer come behind those of the data."""
    if stretch.source == "buffer":
        return torch.arange(len(examples), len(examples) + stretch.count)
    return None if len(tasks) == 1 and len(task.training) == len(examples) else task.training


def with_buffers(examples: DataSet, course: Course, learner: Learner) -> DataSet:
    """Put the examples of a learner's buffer behind those of the data, where a course takes any from there."""
    planned = [leg.stretch for leg in course.legs if leg.stretch.source == "buffer"]
    return _WithBuffer(examples, learner, planned[0]) if planned else examples


class _WithBuffer:
    """Give the examples of the data, and those of a buffer under the numbers behind them; a batch is of one kind."""

    def __init__(self, examples: DataSet, learner: Learner, stretch: Stretch) -> None:
        self.examples, self._learner, self._stretch = examples, learner, stretch

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Make a batch."""
        data, first = self._place(indices)
        return data.batch(indices - first, epoch)

    def describe(self, indices: Tensor) -> str:
        """Name the examples."""
        data, first = self._place(indices)
        return data.describe(indices - first)

    def _place(self, indices: Tensor) -> tuple[DataSet, int]:
        """Return the set that examples are in, and the number of its first."""
        if int(indices[0]) < len(self.examples):
            return self.examples, 0
        return self._learner.stretch_examples(self._stretch), len(self.examples)
