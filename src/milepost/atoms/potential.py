"""Turn an architecture's numbers per atom into energies, forces and virials, in eV and Å.

Energies are a per-species reference plus a learned, scaled rest. Training sees only the rest, so single
precision is spent on chemistry and not on the large constants; the references are added at the end in double
precision.

Forces are exact derivatives. The network is differentiated with respect to the neighbor vectors r_ij, which
gives both observables without a second pass: F_i = Σ_j (∂E/∂r_ij - ∂E/∂r_ji), and the virial dE/dε = Σ_ij
∂E/∂r_ij ⊗ r_ij (compare A. P. Thompson, S. J. Plimpton, W. Mattson, J. Chem. Phys. 131, 154107 (2009)).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from milepost.atoms.messages import reduce_mirrors, sum_by_structure

HIGHEST_ATOMIC_NUMBER = 118


class Predictions(NamedTuple):
    """Hold what a potential predicts for a batch, references not included.

    Shapes and units: energies [structures] and atomic_energies [atoms] in eV, forces [atoms, 3] in eV/Å,
    virials [structures, 3, 3] = dE/dε in eV (the stress times the volume, in ASE's sign).
    """

    energies: Tensor
    forces: Tensor
    virials: Tensor
    atomic_energies: Tensor


class Potential(nn.Module):
    """Hold a network together with what makes its output an energy.

    Buffers: `references` [species], eV, double precision; `scale`, eV, the size of the learned part;
    `atomic_numbers` [species], sorted, which tell the network's species 0, 1, … apart.
    """

    references: Tensor
    scale: Tensor
    atomic_numbers: Tensor

    def __init__(self, network: nn.Module, atomic_numbers: list[int], cutoff: float) -> None:
        super().__init__()
        self.network = network
        self.cutoff = cutoff
        self.register_buffer("references", torch.zeros(len(atomic_numbers), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=next(network.parameters()).dtype))
        self.register_buffer("atomic_numbers", torch.tensor(atomic_numbers, dtype=torch.long))

    @property
    def dtype(self) -> torch.dtype:
        """Tell the floating-point type of the network."""
        return self.scale.dtype

    def forward(self, vectors: Tensor, neighbors: Tensor, reverse: Tensor, species: Tensor) -> Tensor:
        """Predict the learned part of each atom's energy: [atoms], eV; arguments as in the network."""
        return self.network(vectors, neighbors, reverse, species) * self.scale

    def species_table(self) -> Tensor:
        """Tabulate the species of every atomic number: [119], -1 where the potential knows none."""
        table = torch.full((HIGHEST_ATOMIC_NUMBER + 1,), -1, dtype=torch.long, device=self.atomic_numbers.device)
        table[self.atomic_numbers] = torch.arange(len(self.atomic_numbers), device=table.device)
        return table


def predict(
    potential: nn.Module,
    vectors: Tensor,
    neighbors: Tensor,
    reverse: Tensor,
    species: Tensor,
    structure: Tensor,
    structures: int,
    *,
    differentiable: bool,
) -> Predictions:
    """Predict energies and their exact derivatives for a batch of structures.

    Shapes: vectors [atoms, slots, 3] in Å; neighbors, reverse [atoms, slots]; species, structure [atoms].
    Atoms whose structure number is `structures` or more are padding. `differentiable` keeps the graph, so
    that a loss of the forces can be differentiated with respect to the weights.
    """
    with torch.enable_grad():
        if not vectors.requires_grad:
            vectors = vectors.detach().requires_grad_()
        atomic = potential(vectors, neighbors, reverse, species)
        (pull,) = torch.autograd.grad(atomic.sum(), vectors, create_graph=differentiable)
    if not differentiable:
        atomic, vectors = atomic.detach(), vectors.detach()
    forces = pull.sum(1) - reduce_mirrors(pull, neighbors, reverse)
    pair_virials = torch.einsum("aki,akj->aij", vectors, pull).flatten(1)
    energies = sum_by_structure(atomic, structure, structures)
    virials = sum_by_structure(pair_virials, structure, structures).view(structures, 3, 3)
    return Predictions(energies, forces, virials, atomic)
