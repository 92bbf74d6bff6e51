"""Remember a model as it was, to compare with what it becomes."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Teacher:
    """Hold the weights of a model at one moment; `Stateful`. False until it remembers one.

    A teacher computes as in an evaluation: it is one fixed function, of which dropout or a batch's statistics are no
    part.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._saved: dict[str, Any] = {}
        self._made: nn.Module | None = None

    def __bool__(self) -> bool:
        return bool(self._saved)

    def remember(self, model: nn.Module) -> None:
        """Keep a copy of everything in a model's state."""
        self._saved = _copied(model.state_dict(), self.device)
        self._made = None

    def module(self, model: nn.Module) -> nn.Module:
        """Return the model that was remembered; `model` is any of the same kind."""
        if self._made is None:
            self._made = copy.deepcopy(model).eval().requires_grad_(False)
            self._made.load_state_dict(self._saved)
        return self._made

    def state_dict(self) -> dict[str, Any]:
        """Return the model's state."""
        return dict(self._saved)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state whole."""
        self._saved = _copied(state, self.device)
        self._made = None


def _copied(state: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        name: value.detach().to(device, copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)
        for name, value in state.items()
    }
