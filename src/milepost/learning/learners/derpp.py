"""Dark experience replay with targets, DER++.

P. Buzzega, M. Boschini, A. Porrello, D. Abati, S. Calderara, Dark experience for general continual learning: a strong,
simple baseline, NeurIPS 2020. Equation 6 adds to DER's the loss on a second, independent draw from the memory M:

    L = E_stream[loss(y, f(x))] + α E_M[‖z - h(x)‖²] + β E_M[loss(y, f(x))]
"""

from typing import ClassVar

from torch import Tensor

from milepost.learning.data import Batch
from milepost.learning.learners.der import DER
from milepost.learning.objective import Outputs


class DERPP(DER):
    """Minimise the loss on the batch, the distance to kept outputs, and the loss on kept targets."""

    places: ClassVar[tuple[str, ...]] = ("replay", "again")

    def factors(self) -> dict[str, float]:
        """Return the factors of the second and third term of equation 6."""
        return {**super().factors(), "replay": self.options.beta}

    def term(self, name: str, outputs: list[Outputs], batches: list[Batch]) -> Tensor:
        """Return a term: the distance for the first draw, the loss for the second."""
        if name != "replay":
            return super().term(name, outputs, batches)
        loss: Tensor = self.objective.loss(outputs[2], batches[2])[0]
        return loss
