"""Average loss and gradients over the batches of one step, so that a step may be larger than memory.

Each batch counts as much as it has examples. Where the loss is a mean over examples, the result is that of one batch
of all of them, up to rounding. It is not quite that where the loss divides by something else that differs from batch
to batch (a mean over the parts of examples of different sizes, or over the labels that are there), and a layer that
looks at a whole batch at once (a batch norm) sees the small ones.

Promise: one batch is in memory at a time; sums are taken in the order of the batches.
"""

from collections.abc import Iterable

from torch import Tensor

from milepost.learning import Batch
from milepost.run.step import GradientStep

Kept = dict[str, Tensor]


def averaged_gradients(
    step: GradientStep, batches: Iterable[tuple[Tensor, Batch]], examples: int, scale: float = 1.0
) -> tuple[Tensor, dict[str, Tensor], list[Kept]]:
    """Return loss and parts averaged over batches of together so many examples, and what each batch keeps; leave the
    gradients on the parameters.

    Only the gradients are multiplied by `scale`.
    """
    sums: list[Tensor] = []
    names: list[str] = []
    outputs: list[Kept] = []
    for indices, batch in batches:
        total, parts, kept = step(batch, scale)
        if len(indices) == examples:
            return total, parts, [kept]
        outputs.append(kept)
        names = list(parts)
        found = [total, *parts.values(), *step.gradients()]
        share = len(indices) / examples
        if sums:
            for held, value in zip(sums, found, strict=True):
                held.add_(value, alpha=share)
        else:
            sums = [value * share for value in found]
    step.put(sums[1 + len(names) :])
    return sums[0], dict(zip(names, sums[1:], strict=False)), outputs
