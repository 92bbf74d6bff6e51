"""Compare predictions with targets: one number to minimise.

Errors are divided by the size of the forces in the training set, so that the same weights serve strong and
weak chemistry. Energies count per atom. Padding and missing targets carry weight zero and change nothing.

Kinds: "mse", the mean square; "huber", the smooth form √(x² + δ²) - δ of Huber's loss, quadratic below δ and
linear above, so that a few strong frames do not set the course (P. Charbonnier et al., IEEE Trans. Image
Process. 6, 298 (1997)); for forces, x is the length of the error vector, which keeps the loss invariant under
rotation.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from milepost.atoms.options import LossOptions
from milepost.atoms.potential import Predictions, predict

Batch = dict[str, Tensor]


class Loss:
    """Compute the loss of a batch, and its parts.

    Promise: a pure function of (model, batch). Returns the total and a dictionary of its unweighted parts.
    """

    def __init__(self, options: LossOptions, forces_size: float, *, with_stress: bool) -> None:
        self.options = options
        self.unit = forces_size
        self.with_stress = with_stress

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Predict and compare; a batch is what `milepost.atoms.dataset.Structures.batch` gives."""
        return self.compare(predict_batch(model, batch)._asdict(), batch, batch)

    def compare(
        self, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare `energies`, `forces`, and `virials` where there is stress, with those that are wanted.

        Sizes and weights are those of the batch; units are those of `Predictions`.
        """
        per_atom = (found["energies"] - wanted["energies"]) / (batch["sizes"] * self.unit)
        parts = {"energy": self._mean(per_atom.square(), batch["energy_weights"])}
        force_errors = (found["forces"] - wanted["forces"]) / self.unit
        parts["forces"] = self._mean(force_errors.square().sum(-1), batch["force_weights"])
        total = self.options.energy * parts["energy"] + self.options.forces * parts["forces"]
        if self.with_stress:
            virial_errors = (found["virials"] - wanted["virials"]) / (batch["sizes"] * self.unit)[:, None, None]
            parts["stress"] = self._mean(virial_errors.square().sum((-2, -1)), batch["stress_weights"])
            total = total + self.options.stress * parts["stress"]
        return total, parts

    def _mean(self, squares: Tensor, weights: Tensor) -> Tensor:
        """Average the penalty of squared errors over the entries that count."""
        if self.options.type == "huber":
            delta = self.options.delta
            squares = torch.sqrt(squares + delta * delta) - delta
        return (squares * weights).sum() / weights.sum().clamp(min=1.0)


def predict_batch(model: nn.Module, batch: Mapping[str, Tensor]) -> Predictions:
    """Predict a batch of structures, so that what is predicted can be differentiated with respect to the weights."""
    return predict(
        model,
        batch["vectors"],
        batch["neighbors"],
        batch["reverse"],
        batch["species"],
        batch["structure"],
        batch["energies"].shape[0],
        differentiable=True,
    )
