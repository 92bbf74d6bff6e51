"""Averaged gradient episodic memory, A-GEM: follow no gradient that raises the mean loss on kept examples.

A. Chaudhry, M. Ranzato, M. Rohrbach, M. Elhoseiny, Efficient lifelong learning with A-GEM, ICLR 2019. Equation 11: with
the gradient g of the batch and g_ref of examples drawn at random from the memory of all earlier tasks,

    g̃ = g - (gᵀ g_ref / g_refᵀ g_ref) g_ref    where gᵀ g_ref < 0, and g otherwise.

The memory has the same number of examples of each task, kept when the task ends; when it ends again, in their place.
"""

from typing import Any

import torch
from torch import Tensor, nn

from milepost.learning.learner import GradientsOf, Setting
from milepost.learning.learners.episodic import Episodic, laid_out
from milepost.learning.weights import flattened


class AGEM(Episodic):
    """Project the gradient onto those that don't raise the loss on a draw from the memory."""

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.minibatch_size: int = options.minibatch_size or setting.batch_size

    def corrected(self, gradients: list[Tensor], model: nn.Module, gradients_of: GradientsOf) -> list[Tensor]:
        """Project the gradients (equation 11), once a task has ended."""
        if not len(self.buffer):
            return gradients
        reference = gradients_of(self.collated(self.buffer.draw(self.minibatch_size)))
        return laid_out(projected(flattened(gradients), flattened(reference)), gradients)


def projected(gradient: Tensor, reference: Tensor) -> Tensor:
    """Return the vector nearest to the gradient whose product with the reference is not negative."""
    length = reference.dot(reference)
    along = torch.where(length > 0, gradient.dot(reference) / length, 0.0)
    return gradient - along.clamp(max=0.0) * reference
