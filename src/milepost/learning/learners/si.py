"""Hold weights as hard as they helped on the way: synaptic intelligence.

Source: F. Zenke, B. Poole, S. Ganguli, Continual Learning Through Synaptic Intelligence, ICML 2017.

    ω ← ω - g Δθ                                    eq. 3, step by step; g is the gradient of the task's loss alone
    L(θ) = L_task(θ) + c Σ_i Ω_i (θ*_i - θ_i)²      eq. 4
    Ω ← Ω + ω / ((θ - θ*)² + ξ),  θ* ← θ,  ω ← 0    eq. 5, after each task

With noisy gradients a weight's ω can come out negative, and a negative importance has no least loss. As in the authors'
own code, no Ω falls below zero.
"""

from typing import Any

import torch
from torch import Tensor, nn

from milepost.learning.anchors import Anchor
from milepost.learning.learner import GradientsOf, Setting, Taken
from milepost.learning.learners.finetune import Finetune
from milepost.learning.weights import flattened, on_device, trainable


class SynapticIntelligence(Finetune):
    """Follow the task's loss and the pull of the weights before, each by what its path brought."""

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.anchor = Anchor(setting.device)
        self._path: Tensor | None = None
        self._before: Tensor | None = None
        self._gradient: Tensor | None = None

    def begin_task(self, task: int, model: nn.Module) -> None:
        """Begin the first path where the model is."""
        if self.anchor.weights is None:
            self.anchor.weights = flattened(trainable(model))
            self._path = torch.zeros_like(self.anchor.weights)

    def corrected(self, gradients: list[Tensor], model: nn.Module, gradients_of: GradientsOf) -> list[Tensor]:
        """Note weights and gradient before they are used; add the gradients of c times the penalty."""
        self._before, self._gradient = flattened(trainable(model), self._before), flattened(gradients)
        return self.anchor.add_pull(gradients, model, self.options.c)

    def stepped(self, taken: Taken, model: nn.Module) -> None:
        """Add what the step did to the task's loss, to first order, once for all batches of the step."""
        if self._gradient is None or self._before is None or self._path is None:
            return
        if self._gradient.sum().isfinite():  # or the gradients overflowed, and the step was skipped
            back = self._before.sub_(flattened(trainable(model)))
            self._path.addcmul_(self._gradient, back)
        self._gradient = None

    def end_task(self, task: int, model: nn.Module) -> None:
        """Turn the path into importances, and move the anchor here."""
        anchor, path = self.anchor, self._path
        if anchor.weights is None or path is None:
            return
        weights = flattened(trainable(model))
        gained = path / ((weights - anchor.weights).square() + self.options.xi)
        older = torch.zeros_like(gained) if anchor.importances is None else anchor.importances
        anchor.weights, anchor.importances = weights, (older + gained).clamp(min=0)
        self._path = torch.zeros_like(weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the anchor and the path so far."""
        return {"anchor": self.anchor.state_dict(), "path": self._path}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state whole."""
        self.anchor.load_state_dict(state["anchor"])
        self._path, self._gradient = on_device(state["path"], self.setting.device), None
