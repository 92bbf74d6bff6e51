"""Gradient episodic memory, GEM: follow no gradient that raises the loss on the kept examples of any task.

D. Lopez-Paz, M. Ranzato, Gradient episodic memory for continual learning, NeurIPS 2017. Of the gradient g of the batch
and g_k of the memory of each earlier task k, the step follows the solution of (equation 8)

    minimise ½ ‖g - g̃‖²    such that ⟨g̃, g_k⟩ ≥ 0 for every k.

Its dual (equation 11) has one unknown for each task: with the g_k as rows of G, up to sign as in equations 9 and 10,

    minimise ½ vᵀ G Gᵀ v + gᵀ Gᵀ v    such that v ≥ γ,    and g̃ = Gᵀ v + g,

with γ = 0 for equation 8. The paper adds γ to the solution; its authors' code, which published values of γ are for,
bounds v by γ from below, and so does this. Where no constraint is violated, g̃ = g. A task that is learned again is an
earlier one like the others, until it ends again and its memory is filled anew.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from milepost.learning.learner import GradientsOf
from milepost.learning.learners.episodic import Episodic, laid_out
from milepost.learning.weights import flattened

RIDGE = 1e-10
"""Added to the diagonal of G Gᵀ, relative to the largest entry: gradients of two tasks may be parallel."""


class GEM(Episodic):
    """Project the gradient onto those that don't raise the loss on any earlier task's memory."""

    def corrected(self, gradients: list[Tensor], model: nn.Module, gradients_of: GradientsOf) -> list[Tensor]:
        """Project the gradients (equation 8), once a task has ended."""
        if not len(self.buffer):
            return gradients
        memories = [self.buffer.get(self.buffer.slots_of(ended)) for ended in self.buffer.labels]
        references = torch.stack([flattened(gradients_of(self.collated(memory))) for memory in memories])
        return laid_out(projected(flattened(gradients), references, self.options.gamma), gradients)


def projected(gradient: Tensor, references: Tensor, gamma: float = 0.0) -> Tensor:
    """Return the vector nearest to the gradient [weights] whose product with no reference [tasks, weights] is negative.

    A `gamma` above zero moves it further towards the references.
    """
    products = references @ gradient
    if bool((products >= 0).all()):
        return gradient
    gram = (references @ references.T).double().cpu().numpy()
    v = dual_solution(gram, products.double().cpu().numpy(), gamma)
    return gradient + torch.from_numpy(v).to(references) @ references


def dual_solution(gram: NDArray[np.float64], products: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Return v [tasks] of equation 11, given G Gᵀ [tasks, tasks] and G g [tasks].

    With v = u + γ and the Cholesky factor L of G Gᵀ, this is the non-negative least squares problem of ‖Lᵀu + L⁻¹c‖²,
    c = G Gᵀ γ + G g.
    """
    from scipy.linalg import solve_triangular
    from scipy.optimize import nnls

    positive = gram + RIDGE * gram.diagonal().max() * np.eye(len(gram))
    factor = np.linalg.cholesky(positive)
    margin = np.full(len(gram), gamma)
    offset = solve_triangular(factor, positive @ margin + products, lower=True)
    return nnls(factor.T, -offset)[0] + margin
