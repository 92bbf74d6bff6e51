"""Everything of a run that changes while it trains, under one roof.

A `TrainingState` is the whole of what the next step depends on. Its parts are `Stateful`; saving it and restoring it
into freshly made objects leaves a run that can't be told from one that never stopped.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from milepost.checkpoint import Checkpoint, RandomState, Stateful
from milepost.learning import Learner, TaskMatrix, find_learner
from milepost.options import RootOptions, TrainingOptions
from milepost.run.averaging import AveragedModel
from milepost.run.course import Course
from milepost.run.metrics_log import MetricsLog
from milepost.run.optimizer import NamedOptimizer, make_optimizer
from milepost.run.precision import Scaler
from milepost.run.schedule import Schedule
from milepost.run.skipping import SkippedSteps
from milepost.run.versions import LEARNER, is_today, remembered, saved_section, take_over

FACTS = ("facts", "split")
"""Components of a checkpoint that are read before the state is restored."""


class Position:
    """Count steps, and collect the losses since the last evaluation; `Stateful`."""

    def __init__(self) -> None:
        self.step = 0
        self.sums: dict[str, float] = {}
        self.batches = 0

    def add(self, losses: Mapping[str, float]) -> None:
        """Count a step with its losses."""
        self.step += 1
        self.batches += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def pass_over(self) -> None:
        """Count a step that is left out."""
        self.step += 1

    def means(self) -> dict[str, float]:
        """Return the mean losses since the last call, and start again."""
        means = {name: value / max(1, self.batches) for name, value in self.sums.items()}
        self.sums, self.batches = {}, 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return the counters."""
        return {"step": self.step, "sums": dict(self.sums), "batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved counters."""
        self.step, self.sums, self.batches = state["step"], dict(state["sums"]), state["batches"]


class Best:
    """Remember the best value of a metric and how many evaluations ago it was; `Stateful`.

    The best value of another metric, or the other way round, means nothing: it is not taken over.
    """

    def __init__(self, metric: str, mode: str, minimum_change: float = 0.0) -> None:
        self.watched = f"{mode} {metric}"
        self.sign = 1.0 if mode == "min" else -1.0
        self.minimum_change = minimum_change
        self.value: float | None = None
        self.waited = 0

    def evaluated(self, value: float) -> bool:
        """Take note of a value and tell whether it is the best so far; NaN never is."""
        better = math.isfinite(value) and (
            self.value is None or self.sign * value < self.sign * self.value - self.minimum_change
        )
        self.value, self.waited = (value, 0) if better else (self.value, self.waited + 1)
        return better

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the wait."""
        return {"watched": self.watched, "value": self.value, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved value and wait, if they are of what is watched here."""
        same = state["watched"] == self.watched
        self.value, self.waited = (state["value"], state["waited"]) if same else (None, 0)


class TrainingState:
    """Hold all that changes in a run: model, average, learner, optimizer, scale of the loss, schedule, position,
    best-so-far, metric log, the matrix of tasks, steps left out and random numbers.

    `course` tells what a position means, and does not change. A learner that keeps nothing and a matrix of no tasks
    have no part in a checkpoint.
    """

    def __init__(
        self,
        model: nn.Module,
        options: RootOptions,
        training: TrainingOptions,
        *,
        learner: Learner,
        course: Course,
        matrix: TaskMatrix | None,
        metrics: MetricsLog,
    ) -> None:
        self.model = model
        self.learner, self.course, self.matrix = learner, course, matrix
        self.averaged = None if training.ema_decay is None else AveragedModel(model, training.ema_decay)
        self.optimizer = make_optimizer(training.optimizer, model)
        self.schedule = Schedule(training.schedule, course.legs[0].steps, course.legs[0].order.steps_per_epoch)
        self.position = Position()
        self.best = Best(options.checkpoints.monitor, options.checkpoints.mode)
        stopping = training.early_stopping
        self.stopping = Best(stopping.monitor, stopping.mode, stopping.minimum_change)
        self.scaler = Scaler() if training.mixed_precision == "float16" else None
        self.metrics = metrics
        self.skipped = SkippedSteps()
        self._named_optimizer = NamedOptimizer(self.optimizer, model)
        self._random = RandomState()
        self._learner_name = options.learner.name

    @property
    def evaluated_model(self) -> nn.Module:
        """Give the model that predicts best: the averaged one where there is one."""
        return self.model if self.averaged is None else self.averaged.model

    def components(self) -> dict[str, Stateful]:
        """Name every part that goes into a checkpoint."""
        parts: dict[str, Stateful] = {
            "model": self.model,
            "optimizer": self._named_optimizer,
            "schedule": self.schedule,
            "position": self.position,
            "best": self.best,
            "stopping": self.stopping,
            "metrics": self.metrics,
            "skipped": self.skipped,
            "random": self._random,
        }
        remembers = None if type(self.learner).state_dict is Learner.state_dict else self.learner
        optional: dict[str, Stateful | None] = {
            "ema": self.averaged,
            "scaler": self.scaler,
            LEARNER: remembers,
            "matrix": self.matrix,
        }
        return parts | {name: part for name, part in optional.items() if part is not None}

    def begin_anew(self) -> None:
        """Begin with a new optimizer and schedule, as a task does: what they gathered belongs to another loss."""
        self.optimizer.state.clear()
        self.schedule.begin_anew()

    def steady(self) -> list[Tensor]:
        """List the tensors that nothing but `apply` changes, so that they can be copied while a step is computed."""
        averaged = [] if self.averaged is None else list(self.averaged.model.parameters())
        moments = [m for state in self.optimizer.state.values() for m in state.values() if isinstance(m, Tensor)]
        return [*self.model.parameters(), *averaged, *moments]

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over everything from a checkpoint; raises StateMismatchError listing all that does not fit.

        What an older version of the learner remembered is carried to today's.
        """
        parts, spec = self.components(), find_learner(self._learner_name)
        if is_today(checkpoint, spec):
            checkpoint.restore(parts, ignore=FACTS)
        else:
            parts.pop(LEARNER, None)
            state = remembered(checkpoint, spec, saved_section(checkpoint))[1]
            checkpoint.restore(parts, ignore=(*FACTS, *({LEARNER} & {*checkpoint.components})))
            take_over(checkpoint, self.learner, state)
        saved = cast(dict[str, Any], checkpoint.state("best"))
        if saved["watched"] != self.best.watched:
            self.schedule.forget_best()

    def apply(self, losses: Mapping[str, Tensor], *, skipped: bool = False) -> None:
        """Move the weights along the gradients that are on them, then the average, then count.

        A step that is `skipped`, because its gradients overflowed, leaves weights and optimizer as they are.
        """
        leg = self.course.leg(self.position.step)
        self.schedule.fit(leg.steps, leg.order.steps_per_epoch)
        factor = self.schedule.factor(self.position.step - leg.first)
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("base_lr", group["lr"]) * factor
        if not skipped:
            self.optimizer.step()
        if self.scaler is not None:
            self.scaler.update(finite=not skipped)
        self.position.add({name: float(value) for name, value in losses.items()})
        if self.averaged is not None:
            self.averaged.update(self.position.step)
