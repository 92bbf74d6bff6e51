"""Train in 16 bits where it does little harm: which type, and the scale that keeps small gradients from vanishing.

bfloat16 has the range of float32 and needs no care. float16 ends at 65504 and loses what is below 6e-8: the loss is
multiplied by a scale before it is differentiated, the gradients are divided by it after. Where the scale was too
large, gradients overflow: that step is skipped and the scale halved.

Promise: the scale is a pure function of the steps so far. Powers of two change no bit of a gradient that stays in
range.
Failure: none. `Scaler.may_overflow` tells whether a gradient that is no number may be an overflow.
"""

from typing import Any

import torch
from torch import Tensor

from milepost.options import TrainingOptions

INITIAL_SCALE = 2.0**16
GROWTH_FACTOR = 2.0
BACKOFF_FACTOR = 0.5
GROWTH_INTERVAL = 2000
"""The defaults of torch.amp.GradScaler, which documents the rule."""

LEAST_SCALE = 1.0
"""Scale at which a gradient that is no number is none by itself, and not because of the scale."""


def computed_in(training: TrainingOptions) -> torch.dtype | None:
    """Return the 16-bit type that the options ask for, or None."""
    return None if training.mixed_precision is None else getattr(torch, training.mixed_precision)


class Scaler:
    """Choose the factor of the loss for float16; `Stateful`."""

    def __init__(self) -> None:
        self.scale = INITIAL_SCALE
        self._finite_steps = 0

    def unscale(self, gradients: list[Tensor]) -> None:
        """Divide gradients by the scale, in place."""
        for gradient in gradients:
            gradient.mul_(1.0 / self.scale)

    @property
    def may_overflow(self) -> bool:
        """Whether gradients that are no numbers may be those of a scale that is too large."""
        return self.scale > LEAST_SCALE

    def update(self, *, finite: bool) -> None:
        """Halve the scale after gradients that were not finite; double it after many steps that were."""
        if not finite:
            self.scale, self._finite_steps = self.scale * BACKOFF_FACTOR, 0
            return
        self._finite_steps += 1
        if self._finite_steps == GROWTH_INTERVAL:
            self.scale, self._finite_steps = self.scale * GROWTH_FACTOR, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and the finite steps since it last changed."""
        return {"scale": self.scale, "finite_steps": self._finite_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved scale."""
        self.scale, self._finite_steps = float(state["scale"]), int(state["finite_steps"])
