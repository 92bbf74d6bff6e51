"""Hold weights as hard as they mattered for the tasks before: online elastic weight consolidation.

With one anchor for all tasks (J. Schwarz et al., Progress & Compress, ICML 2018), which the penalty of J. Kirkpatrick
et al. (Overcoming catastrophic forgetting in neural networks, PNAS 114, 3521 (2017)) is laid around:

    L(θ) = L_task(θ) + λ Σ_i F_i (θ_i - θ*_i)²      Kirkpatrick, eq. 3, with λ for its λ/2
    F ← γ F + F_task,  θ* ← θ                       Schwarz, on online EWC; after each task

F_task is the mean over the task's examples of what `milepost.learning.fisher` measures. λ without the half and the
observed labels are those of the experiments in P. Buzzega et al. (Dark Experience for General Continual Learning,
NeurIPS 2020), so that their values of λ serve here. When a task is trained its examples are shown once more, for F.
"""

from typing import Any

from torch import Tensor, nn

from milepost.learning.anchors import Anchor
from milepost.learning.fisher import Fisher
from milepost.learning.learner import GradientsOf, Setting, Stretch, Taken
from milepost.learning.learners.finetune import Finetune
from milepost.learning.weights import flattened, trainable


class OnlineEWC(Finetune):
    """Follow the task's loss and the pull of the weights before, each by its importance."""

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.anchor = Anchor(setting.device)
        self.fisher = Fisher(setting.objective, setting.examples, setting.device)

    def stretches(self, task: int) -> tuple[Stretch, ...]:
        """Train, then show the examples once for their importances."""
        return (Stretch(), Stretch(epochs=1, trains=False))

    def begin_task(self, task: int, model: nn.Module) -> None:
        """Measure from the start: a task that was left in the middle, to learn an earlier one again, does not count."""
        self.fisher.clear()

    def corrected(self, gradients: list[Tensor], model: nn.Module, gradients_of: GradientsOf) -> list[Tensor]:
        """Add the gradients of λ times the penalty."""
        return self.anchor.add_pull(gradients, model, self.options.e_lambda)

    def stepped(self, taken: Taken, model: nn.Module) -> None:
        """Measure the importances for examples that are only shown."""
        if not taken.stretch.trains:
            self.fisher.add(model, taken.indices)

    def end_task(self, task: int, model: nn.Module) -> None:
        """Move the anchor here, and take the importances of this task in."""
        found, older = self.fisher.mean(model), self.anchor.importances
        self.anchor.importances = found if older is None else self.options.gamma * older + found
        self.anchor.weights = flattened(trainable(model))
        self.fisher.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the anchor, and the importances as far as they are measured."""
        return {"anchor": self.anchor.state_dict(), "fisher": self.fisher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state whole."""
        self.anchor.load_state_dict(state["anchor"])
        self.fisher.load_state_dict(state["fisher"])
