"""The training loop: from batch to step to evaluation to checkpoint, and nothing else.

Promise: what happens at a step depends only on the training state and the options, so it does not matter how often
the loop was left and entered again. Saving happens between steps. The loop stops at the end, early when nothing
improves any more, when a signal asked for it, or with DivergedError when the loss is no number.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from milepost.checkpoint import EveryEpochs, EveryMinutes, EverySteps, Progress, SavePolicy, any_due
from milepost.errors import DivergedError, OptionsError
from milepost.options import CheckpointsOptions, TrainingOptions
from milepost.run.domain import Prepared
from milepost.run.order import BatchOrder
from milepost.run.progress import Reporter
from milepost.run.session import TrainingState
from milepost.run.signals import StopSignals
from milepost.run.step import GradientStep

Outcome = Literal["finished", "stopped"]


@dataclass
class Loop:
    """Hold what the loop works with.

    `save` hands over a checkpoint with the metrics of this very step, if any; `before_step` waits until the weights
    may change again, and raises the error of a save that failed.
    """

    prepared: Prepared
    state: TrainingState
    step: GradientStep
    order: BatchOrder
    training: TrainingOptions
    checkpoints: CheckpointsOptions
    total_steps: int
    reporter: Reporter
    signals: StopSignals
    save: Callable[[dict[str, float]], None]
    before_step: Callable[[], None]
    last_good: Callable[[int], str]

    def run(self) -> Outcome:
        """Train from where the state is to the end; see the module for how it can end."""
        policies = save_policies(self.checkpoints)
        saved = self._progress()
        with self.reporter.begin(self.state.position.step, self.total_steps):
            while self.state.position.step < self.total_steps and not self._exhausted():
                if self.signals.received is not None:
                    if saved.step != self.state.position.step:
                        self.save({})
                    return "stopped"
                self._advance()
                metrics, improved = self._evaluation()
                now = self._progress()
                last = self._exhausted() or now.step == self.total_steps
                if last or improved or any_due(policies, saved, now):
                    self.save(metrics)
                    saved = now
        if self._exhausted():
            self.reporter.say(f"stopping early: no better value for {self.state.stopping.waited} evaluations")
        return "finished"

    def _progress(self) -> Progress:
        step = self.state.position.step
        return Progress(step, step // self.order.steps_per_epoch, time.monotonic())

    def _advance(self) -> None:
        """Take one step of the optimizer."""
        step = self.state.position.step
        indices = self.order.indices(step)
        total, parts = self.step(self.prepared.sets["training"].batch(indices))
        norm = gradient_norm(self.state.model, self.training.gradient_clip)
        if not (math.isfinite(float(total)) and math.isfinite(float(norm))):
            raise self._diverged(step, indices, float(total), float(norm))
        self.before_step()
        self.state.apply({"loss": total, **parts})
        done = self.state.position.step
        self.reporter.step(done)
        if done % self.training.log_every_steps == 0:
            self.reporter.line(done, float(total), self.state.optimizer.param_groups[0]["lr"])

    def _diverged(self, step: int, indices: Tensor, total: float, norm: float) -> DivergedError:
        epoch = step // self.order.steps_per_epoch
        return DivergedError(
            f"training stopped at step {step} (epoch {epoch}): expected a finite loss and gradient, found a loss of "
            f"{total} and a gradient of norm {norm}.\n"
            f"  The batch holds the examples {indices.tolist()}: "
            f"{self.prepared.sets['training'].describe(indices)}.\n"
            f"  The last good checkpoint is {self.last_good(step)}.\n"
            "Look at these examples. To go on from the last good weights with other data or a lower "
            "architecture.training.optimizer.learning_rate, start a run that names that checkpoint under "
            "architecture.training.finetune.read_from."
        )

    def _evaluation(self) -> tuple[dict[str, float], bool]:
        """Evaluate where an evaluation is due; return its metrics, the monitored one under its own name, and whether
        that is the best so far.
        """
        step = self.state.position.step
        every = self.training.evaluate_every_epochs * self.order.steps_per_epoch
        if step % every and step != self.total_steps:
            return {}, False
        metrics = {f"training/{name}": value for name, value in self.state.position.means().items()}
        held_out = self.prepared.sets["validation"]
        if len(held_out):
            found = self.prepared.evaluate(self.state.evaluated_model, held_out)
            metrics |= {f"validation/{name}": value for name, value in found.items()}
        rate = self.state.optimizer.param_groups[0]["lr"]
        epoch = step // self.order.steps_per_epoch
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
    """Return the monitored metric; without a validation set, a metric of it falls back to the training loss.

    Raises OptionsError listing the metrics there are.
    """
    if name in metrics:
        return metrics[name]
    if name.startswith("validation/") and not any(n.startswith("validation/") for n in metrics):
        return metrics["training/loss"]
    raise OptionsError(
        f"could not watch the metric of '{key}': expected one of {', '.join(sorted(metrics))}, found '{name}'. "
        f"Correct {key} and continue with --restart auto."
    )


def gradient_norm(model: torch.nn.Module, clip: float | None) -> Tensor:
    """Return the norm of all gradients, and scale them down to `clip` where it is exceeded."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
    return norm


def save_policies(options: CheckpointsOptions) -> list[SavePolicy]:
    """Read the save policies off the options."""
    policies: list[SavePolicy] = []
    if options.every_steps is not None:
        policies.append(EverySteps(options.every_steps))
    if options.every_epochs is not None:
        policies.append(EveryEpochs(options.every_epochs))
    if options.every_minutes is not None:
        policies.append(EveryMinutes(options.every_minutes))
    return policies
