"""Keep an exponential moving average of the weights beside the raw ones.

The average is a model of its own: nothing is swapped into the live weights, so evaluating can't disturb training. The
decay is small at first, min(decay, (1 + t) / (10 + t)) after t steps, so that random initial weights are forgotten
quickly (the rule of TensorFlow's ExponentialMovingAverage).
"""

import copy
from typing import Any

import torch
from torch import nn


class AveragedModel:
    """Hold the averaged model; `Stateful`, by parameter name."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._average = list(self.model.parameters())
        self._raw = [p.detach() for p in model.parameters()]
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    def restart(self, model: nn.Module) -> None:
        """Begin the average anew, at the weights of a model."""
        self.model.load_state_dict(model.state_dict())

    def update(self, steps: int) -> None:
        """Move the average towards the raw weights after this many steps of training."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for average, raw in zip(self._average, self._raw, strict=True):
                average.lerp_(raw, 1.0 - decay)
            for average, raw in self._buffers:
                average.copy_(raw)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and buffers by name."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved averages."""
        self.model.load_state_dict(state)
