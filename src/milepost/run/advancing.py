"""Take one step of the optimizer: examples → gradients → weights.

Promise: what a step does depends on the training state, the options and the examples of that step alone. Nothing is
changed by a step whose loss or gradient is no finite number: it raises DivergedError, with the step and its examples.
Gradients that overflow float16 are no divergence: weights and optimizer stay as they are, and the step counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from milepost.errors import DivergedError
from milepost.options import TrainingOptions
from milepost.run.accumulating import averaged_gradients
from milepost.run.batches import Batches
from milepost.run.session import TrainingState
from milepost.run.step import GradientStep


@dataclass
class Advance:
    """Move a training state by one step.

    `before_step` waits until the weights may change; `last_good` names the checkpoint to go back to from a step; `say`
    tells the user of a step that was skipped.
    """

    state: TrainingState
    gradients: GradientStep
    batches: Batches
    training: TrainingOptions
    before_step: Callable[[], None]
    last_good: Callable[[int], str]
    say: Callable[[str], None]

    def __call__(self) -> float:
        """Take the step that the state is at; return its loss."""
        step, scaler = self.state.position.step, self.state.scaler
        indices, batches = self.batches(step)
        scale = 1.0 if scaler is None else scaler.scale
        total, parts = averaged_gradients(self.gradients, batches, len(indices), scale)
        if scaler is not None:
            scaler.unscale(self.gradients.gradients())
        norm = gradient_norm(self.state.model, self.training.gradient_clip)
        finite = math.isfinite(float(norm))
        overflow = not finite and scaler is not None and scaler.may_overflow
        if not (math.isfinite(float(total)) and (finite or overflow)):
            raise self._diverged(step, indices, float(total), float(norm))
        self.before_step()
        self.state.apply({"loss": total, **parts}, skipped=overflow)
        if scaler is not None and overflow:
            self.say(
                f"step {step}: the gradients overflowed {self.training.mixed_precision} and the step was skipped; the "
                f"scale of the loss is now {scaler.scale:g}"
            )
        return float(total)

    def _diverged(self, step: int, indices: Tensor, total: float, norm: float) -> DivergedError:
        epoch = step // self.batches.order.steps_per_epoch
        return DivergedError(
            f"training stopped at step {step} (epoch {epoch}): expected a finite loss and gradient, found a loss of "
            f"{total} and a gradient of norm {norm}.\n"
            f"  The batch holds the examples {indices.tolist()}: {self.batches.examples.describe(indices)}.\n"
            f"  The last good checkpoint is {self.last_good(step)}.\n"
            "Look at these examples. To go on from the last good weights with other data or a lower "
            "architecture.training.optimizer.learning_rate, start a run that names that checkpoint under "
            "architecture.training.finetune.read_from."
        )


def gradient_norm(model: torch.nn.Module, clip: float | None) -> Tensor:
    """Return the norm of all gradients, and scale them down to `clip` where it is exceeded."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if clip is not None:
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
    return norm
