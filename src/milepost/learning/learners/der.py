"""Dark experience replay: hold the outputs that the model once had for kept examples.

P. Buzzega, M. Boschini, A. Porrello, D. Abati, S. Calderara, Dark experience for general continual learning: a strong,
simple baseline, NeurIPS 2020. Equation 5, with the outputs z that were kept beside example x in the memory M:

    L = E_stream[loss(y, f(x))] + α E_M[‖z - h(x)‖²]

The squared norm is the objective's distance. For logits that is a mean over classes: so it is in the authors' code, for
which their values of α were found. For potentials with the loss "huber" it is that penalty, not the square. Kept are
the outputs of the very pass that the step was computed from, before the weights moved (algorithm 1). The part
`distance` of the loss is the second term without α.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from milepost.learning.data import RECALLED, Batch, Examples
from milepost.learning.keeping import chosen_rows
from milepost.learning.learner import StepLoss, Taken
from milepost.learning.learners.replay import Replay
from milepost.learning.objective import Level, Outputs


class DER(Replay):
    """Minimise the loss on the batch, and the distance to kept outputs on replayed examples."""

    needs: ClassVar[Level] = "outputs"

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the loss on the batch plus the terms of the replayed examples; the batch's outputs are kept."""
        batches = self.batches(batch)
        outputs = self.objective.outputs_of_each(model, batches)
        total, parts = self.objective.loss(outputs[0], batches[0])
        for name, factor in self.factors().items():
            term = self.term(name, outputs, batches) if len(batches) > 1 else torch.zeros_like(total)
            total, parts = torch.add(total, term, alpha=factor), {**parts, name: term}
        kept = self.objective.recalled(outputs[0], batches[0])
        return StepLoss(total, parts, {name: value.detach() for name, value in kept.items()})

    def factors(self) -> dict[str, float]:
        """Return the factor of each term for replayed examples, by the term's name."""
        return {"distance": self.options.alpha}

    def term(self, name: str, outputs: list[Outputs], batches: list[Batch]) -> Tensor:
        """Return a term for replayed examples: a scalar."""
        distance: Tensor = self.objective.distance(outputs[1], batches[1])
        return distance

    def worth_keeping(self, taken: Taken, rows: Tensor) -> Examples:
        """Return some of the examples of a step as they are stored, each with its outputs."""
        outputs = chosen_rows(self.objective.divided(taken.kept, taken.batch), rows)
        return {**super().worth_keeping(taken, rows), **{f"{RECALLED}{name}": value for name, value in outputs.items()}}
