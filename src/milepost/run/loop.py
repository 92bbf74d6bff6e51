"""The training loop: from batch to step to evaluation to checkpoint, and nothing else.

Promise: what happens at a step depends only on the training state and the options, so it does not matter how often
the loop was left and entered again. Saving happens between steps. The loop stops at the end, early when nothing
improves any more, when a signal or the deadline asked for it, or with DivergedError when the loss is no number and
there is no going back. A run of no steps is evaluated and saved as it begins.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from milepost.checkpoint import EachTask, EveryEpochs, EveryMinutes, EverySteps, Progress, SavePolicy, any_due
from milepost.errors import DivergedError, OptionsError
from milepost.learning import DataSet
from milepost.options import CheckpointsOptions, TrainingOptions
from milepost.run.advancing import Advance
from milepost.run.course import Course
from milepost.run.deadline import Deadline
from milepost.run.heartbeat import Heartbeat
from milepost.run.progress import Reporter
from milepost.run.sequence import TaskSequence
from milepost.run.session import TrainingState
from milepost.run.signals import Listening

Outcome = Literal["finished", "stopped", "unsaved"]


@dataclass
class Loop:
    """Hold what the loop works with.

    `advance` takes one step; `save` hands over a checkpoint with the metrics of this very step, if any; `go_back` takes
    the state back after a step that diverged, or raises the error it is given.
    """

    evaluate: Callable[[nn.Module, DataSet], dict[str, float]]
    sequence: TaskSequence
    state: TrainingState
    advance: Advance
    course: Course
    training: TrainingOptions
    checkpoints: CheckpointsOptions
    reporter: Reporter
    signals: Listening
    deadline: Deadline | None
    save: Callable[[dict[str, float]], None]
    go_back: Callable[[DivergedError], None]
    until: int | None = None
    first_save: bool = True
    heartbeat: Heartbeat = field(default_factory=Heartbeat)

    @property
    def total_steps(self) -> int:
        """The steps of the whole run, or those after which it is to end."""
        return self.course.total_steps if self.until is None else self.until

    def run(self) -> Outcome:
        """Train from where the state is to the end; see the module for how it can end."""
        policies = save_policies(self.checkpoints, tasks=self.sequence.several)
        saved, taken = self._progress(), False
        if self.first_save:
            self.sequence.baseline()
            if self.total_steps == 0:
                self.save(self._evaluation()[0])
        self.heartbeat.begin(self.state.position.step, self.total_steps, self.course.epoch)
        with self.reporter.begin(self.state.position.step, self.total_steps):
            while self.state.position.step < self.total_steps and not self._exhausted():
                if self._asked_to_stop(taken=taken):
                    if saved.step != self.state.position.step:
                        self.save({})
                    return "stopped"
                taken = True
                if not self._advanced():
                    saved = self._progress()
                    continue
                metrics, improved = self._evaluation()
                now = self._progress()
                last = self._exhausted() or now.step == self.total_steps
                if last or improved or any_due(policies, saved, now):
                    self.save(metrics)
                    saved = now
        if self._exhausted():
            self.reporter.say(f"stopping early: no better value for {self.state.stopping.waited} evaluations")
        return "finished"

    def _asked_to_stop(self, *, taken: bool) -> bool:
        """Tell whether a signal came or the time is up; `taken` says that this process has taken a step.

        Raises OptionsError where no start has the time for one: the same command again would be in vain for ever.
        """
        deadline = self.deadline
        up = deadline is not None and deadline.passed()
        if self.signals.received is None and deadline is not None and up and deadline.renewed and not taken:
            raise OptionsError(
                f"could not take a step within the time limit of {deadline.limit:g} s: expected more than "
                f"{deadline.reserve:.1f} s left when the first one begins, found {max(0.0, deadline.left):.1f} s. "
                "Give a longer --time-limit."
            )
        return up or self.signals.received is not None

    def _progress(self) -> Progress:
        step = self.state.position.step
        return Progress(step, self.course.epoch(step), time.monotonic(), self.course.tasks_done(step))

    def _advanced(self) -> bool:
        """Take one step, or pass it over, and report it; False if the state was taken back instead."""
        self.sequence.begin()
        if self.state.position.step in self.state.skipped:
            self.state.position.pass_over()
            self.reporter.step(self.state.position.step)
            return True
        try:
            loss = self.advance()
        except DivergedError as error:
            self.go_back(error)
            return False
        done = self.state.position.step
        self.reporter.step(done)
        self.heartbeat.step(done, loss, self.state.optimizer.param_groups[0]["lr"])
        if done % self.training.log_every_steps == 0 and not math.isnan(loss):  # NaN where only the learner looked
            self.reporter.line(done, loss, self.state.optimizer.param_groups[0]["lr"])
        return True

    def _evaluation(self) -> tuple[dict[str, float], bool]:
        """Evaluate where an evaluation is due; return its metrics, the monitored one under its own name, and whether
        that is the best so far.
        """
        step = self.state.position.step
        if not self.course.pass_ended(step, self.training.evaluate_every_epochs):
            return {}, False
        metrics = {f"training/{name}": value for name, value in self.state.position.means().items()}
        with self.heartbeat.during("evaluating"):
            averages = self.sequence.end()
            held_out = self.sequence.held_out(step)
            if held_out is not None and len(held_out):
                found = self.evaluate(self.sequence.predictor(), held_out)
                metrics |= {f"validation/{name}": value for name, value in found.items()}
        metrics |= averages
        rate = self.state.optimizer.param_groups[0]["lr"]
        epoch = self.course.epoch(step)
        self.state.metrics.append({"step": step, "epoch": epoch, "learning_rate": rate, **metrics})
        self.reporter.metrics(epoch, step, metrics)
        watched = monitored(metrics, self.checkpoints.monitor, "checkpoints.monitor")
        self.state.schedule.evaluated(self.state.best.sign * watched)
        self.state.stopping.evaluated(
            monitored(metrics, self.training.early_stopping.monitor, "architecture.training.early_stopping.monitor")
        )
        improved = self.state.best.evaluated(watched)
        return metrics | {self.checkpoints.monitor: watched}, improved and self.checkpoints.keep_best > 0

    def _exhausted(self) -> bool:
        patience = self.training.early_stopping.patience
        return patience is not None and self.state.stopping.waited >= patience


def monitored(metrics: dict[str, float], name: str, key: str) -> float:
    """Return the monitored metric; without a validation set, a metric of it falls back to the training loss. Metrics of
    the training are NaN where no step was taken.

    Raises OptionsError listing the metrics there are.
    """
    if name in metrics:
        return metrics[name]
    if name.startswith("validation/") and not any(n.startswith("validation/") for n in metrics):
        return metrics.get("training/loss", math.nan)
    if name.startswith("training/") and not any(n.startswith("training/") for n in metrics):
        return math.nan
    raise OptionsError(
        f"could not watch the metric of '{key}': expected one of {', '.join(sorted(metrics))}, found '{name}'. "
        f"Correct {key} and continue with --restart auto."
    )


def save_policies(options: CheckpointsOptions, *, tasks: bool = False) -> list[SavePolicy]:
    """Read the save policies off the options; with `tasks`, the end of each is one."""
    policies: list[SavePolicy] = [EachTask()] if tasks else []
    if options.every_steps is not None:
        policies.append(EverySteps(options.every_steps))
    if options.every_epochs is not None:
        policies.append(EveryEpochs(options.every_epochs))
    if options.every_minutes is not None:
        policies.append(EveryMinutes(options.every_minutes))
    return policies
