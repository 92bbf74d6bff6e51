"""Take one step: examples → what the learner replays → gradients → weights → what the learner remembers.

Promise: what a step does depends on the training state, the options and the examples of that step alone. Nothing is
changed by a step whose loss or gradient is no finite number: it raises DivergedError, with the step and its examples.
Gradients that overflow float16 are no divergence: weights and optimizer stay as they are, and the step counts.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from milepost.errors import DivergedError
from milepost.learning import Batch, StepLoss, Taken
from milepost.options import TrainingOptions
from milepost.run.accumulating import Kept, averaged_gradients
from milepost.run.batches import Batches
from milepost.run.session import TrainingState
from milepost.run.step import GradientStep

Shown = list[tuple[Tensor, Batch]]
"""Batches of a step as the data gave them, each with the numbers of its examples."""


@dataclass
class Advance:
    """Move a training state by one step.

    `gradients` computes the learner's loss, `plain` that of the task alone. `before_step` waits until the weights may
    change; `last_good` names the checkpoint to go back to from a step; `say` tells the user of a step that was skipped.
    """

    state: TrainingState
    gradients: GradientStep
    plain: GradientStep
    batches: Batches
    training: TrainingOptions
    before_step: Callable[[], None]
    last_good: Callable[[int], str]
    say: Callable[[str], None]
    _shown: Shown = field(default_factory=list[tuple[Tensor, Batch]])

    def __call__(self) -> float:
        """Take the step that the state is at; return its loss, NaN where none is computed."""
        step = self.state.position.step
        indices, batches = self.batches(step)
        self._shown = []
        if not self.state.course.leg(step).stretch.trains:
            return self._watched(step, batches)
        scaler = self.state.scaler
        scale = 1.0 if scaler is None else scaler.scale
        total, parts, kept = averaged_gradients(self.gradients, self._drawn(batches), len(indices), scale)
        norm = self._corrected()
        finite = math.isfinite(float(norm))
        overflow = not finite and scaler is not None and scaler.may_overflow
        if not (math.isfinite(float(total)) and (finite or overflow)):
            raise self._diverged(step, indices, float(total), float(norm))
        self.before_step()
        self.state.apply({"loss": total, **parts}, skipped=overflow)
        self._remember(step, kept)
        if scaler is not None and overflow:
            self.say(
                f"step {step}: the gradients overflowed {self.training.mixed_precision} and the step was skipped; the "
                f"scale of the loss is now {scaler.scale:g}"
            )
        return float(total)

    def _drawn(self, batches: Iterable[tuple[Tensor, Batch]]) -> Iterator[tuple[Tensor, Batch]]:
        """Give each batch with what the learner replays beside it."""
        for indices, batch in batches:
            self._shown.append((indices, batch))
            yield indices, self.state.learner.draw(batch, self.state.model)

    def _corrected(self) -> Tensor:
        """Let the learner change the gradients, then clip them; return their norm before that."""
        if self.state.scaler is not None:
            self.state.scaler.unscale(self.gradients.gradients())
        found = self.gradients.gradients()
        changed = self.state.learner.corrected(found, self.state.model, self._gradients_of)
        if changed is not found:
            self.gradients.put(changed)
        return gradient_norm(self.gradients.parameters, self.training.gradient_clip)

    def _gradients_of(self, batch: Batch) -> list[Tensor]:
        """Return the gradients of the task's loss on a batch, and leave those that there are."""
        held = self.gradients.gradients()
        self.plain(batch)
        found = self.plain.gradients()
        self.gradients.put(held)
        return found

    def _watched(self, step: int, batches: Iterable[tuple[Tensor, Batch]]) -> float:
        """Show the learner examples on which no weight is moved."""
        self._shown = list(batches)
        self.before_step()
        self.state.position.pass_over()
        self._remember(step, [{} for _ in self._shown])
        return math.nan

    def _remember(self, step: int, kept: list[Kept]) -> None:
        leg = self.state.course.leg(step)
        for (indices, batch), outputs in zip(self._shown, kept, strict=True):
            self.state.learner.stepped(Taken(leg.task, leg.stretch, indices, batch, outputs), self.state.model)

    def _diverged(self, step: int, indices: Tensor, total: float, norm: float) -> DivergedError:
        return DivergedError(
            f"training stopped at step {step} (epoch {self.state.course.epoch(step)}): expected a finite loss and "
            f"gradient, found a loss of {total} and a gradient of norm {norm}.\n"
            f"  The batch holds the examples {indices.tolist()}: {self.batches.examples.describe(indices)}.\n"
            f"  The last good checkpoint is {self.last_good(step)}.\n"
            "Look at these examples. To go on from the last good weights with other data or a lower "
            "architecture.training.optimizer.learning_rate, start a run that names that checkpoint under "
            "architecture.training.finetune.read_from."
        )


def task_loss(state: TrainingState) -> Callable[[torch.nn.Module, Batch], StepLoss]:
    """Return the loss of the task alone, whatever the learner adds to it."""

    def loss(model: torch.nn.Module, batch: Batch) -> StepLoss:
        total, parts = state.learner.setting.objective.task_loss(model, batch)
        return StepLoss(total, parts, {})

    return loss


def gradient_norm(parameters: Sequence[torch.nn.Parameter], clip: float | None) -> Tensor:
    """Return the norm of all gradients, and scale them down to `clip` where it is exceeded."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients and gradients[0].device.type == "cpu":  # the same numbers as below, in a third of the time
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    else:
        norm = torch.nn.utils.get_total_norm(gradients)
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    return norm
