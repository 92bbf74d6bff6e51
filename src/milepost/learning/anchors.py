"""Hold weights where they were, each as hard as it matters: the penalty Σ Ω (θ - θ*)².

This is what elastic weight consolidation and synaptic intelligence have in common; they differ in the importances Ω.
The penalty enters a step as what it adds to the gradients, 2 Ω (θ - θ*): a loss with the penalty in it would have to be
differentiated, at several times the cost of a small network's step. So the loss that is logged is the task's own.
"""

from typing import Any

import torch
from torch import Tensor, nn

from milepost.learning.weights import flattened, on_device, trainable


class Anchor:
    """Hold weights θ* and their importances Ω, vectors; `Stateful`. It holds nothing until both are set."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.weights: Tensor | None = None
        self.importances: Tensor | None = None
        self._pull: Tensor | None = None

    def add_pull(self, gradients: list[Tensor], model: nn.Module, strength: float) -> list[Tensor]:
        """Add the gradients of the penalty times `strength` to those of the trainable weights."""
        if self.weights is None or self.importances is None:
            return gradients
        with torch.no_grad():
            self._pull = flattened(trainable(model), self._pull)
            self._pull.sub_(self.weights).mul_(self.importances)
            parts = self._pull.split([gradient.numel() for gradient in gradients])
            return [torch.add(g, part.view_as(g), alpha=2 * strength) for g, part in zip(gradients, parts, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return both vectors."""
        return {"weights": self.weights, "importances": self.importances}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved vectors."""
        self.weights = on_device(state["weights"], self.device)
        self.importances = on_device(state["importances"], self.device)
