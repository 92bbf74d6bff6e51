"""Lead a run from task to task: tell the learner where tasks begin and end, and measure what is left of earlier ones.

Promise: a task begins when its first step is about to be taken, and has ended, and is measured, before anything is
saved behind its last step. So a number of steps says whether either was done, and no stop can fall in between.
Failure: an OSError or CommitError where the matrix can't be written.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from milepost.learning import DataSet, Task, TaskMatrix
from milepost.run.domain import Prepared
from milepost.run.session import TrainingState

AVERAGES = "tasks/"
"""Begins the names of metrics that are averages over the tasks learned so far."""


@dataclass
class TaskSequence:
    """Keep learner and matrix in step with a run.

    `tasks` are those that are measured, `write` puts the matrix into the run's directory when a task has ended.
    """

    prepared: Prepared
    tasks: Sequence[Task]
    state: TrainingState
    write: Callable[[TaskMatrix], None]

    @property
    def several(self) -> bool:
        """Whether there are tasks to tell apart."""
        return self.state.matrix is not None

    def begin(self) -> None:
        """Begin what the next step begins: the run, a task, a stretch of one."""
        state, step = self.state, self.state.position.step
        leg = state.course.leg(step)
        if leg.first != step:
            return
        if leg.begins:
            state.learner.begin_task(leg.task, state.model)
        state.learner.begin_stretch(leg.task, leg.stretch, state.model)
        state.begin_anew()
        if leg.stretch.source == "buffer" and state.averaged is not None:  # a learner that begins anew with it
            state.averaged.restart(state.model)

    def baseline(self) -> None:
        """Measure every task before anything is learned, so that it can be told what one gains from those before it."""
        if self.state.matrix is not None and len(self.state.course.legs) > 1 and self.state.matrix.blank:
            self.state.matrix.baseline(self._found(len(self.tasks)))

    def end(self) -> dict[str, float]:
        """End the task whose last step was taken, if one was; return the averages over the tasks so far."""
        state = self.state
        leg = state.course.ended(state.position.step)
        if leg is None or not leg.ends:
            return {}
        state.learner.end_task(leg.task, state.model)
        if state.matrix is None:
            return {}
        joint = state.course.tasks == 1
        found = self._found(len(self.tasks) if joint else min(leg.task + 2, len(self.tasks)))
        state.matrix.add(leg.task, found)
        self.write(state.matrix)
        return {f"{AVERAGES}{name}": state.matrix.average(name, leg.task) for name in self.prepared.matrix}

    def held_out(self, step: int) -> DataSet | None:
        """Return the validation set of the task that the last of so many steps belongs to; None where it has none."""
        if self.state.course.tasks < len(self.tasks):
            return self.prepared.sets.get("validation")
        return self.tasks[self.state.course.task(step)].held_out.get("validation")

    def _found(self, count: int) -> list[Mapping[str, float] | None]:
        """Measure the first so many tasks on their test sets, or validation sets where they have none."""
        predictor = self.predictor()
        return [self._measured(predictor, task) for task in self.tasks[:count]]

    def _measured(self, predictor: nn.Module, task: Task) -> dict[str, float] | None:
        for name in ("test", "validation"):
            data = task.held_out.get(name)
            if data is not None and len(data):
                return self.prepared.evaluate(predictor, data)
        return None

    def predictor(self) -> nn.Module:
        """Return what predicts: of the averaged weights where there are any, as the learner reads them."""
        return self.state.learner.predictor(self.state.evaluated_model)
