"""State a potential as one function of tensors: positions and a pair table in, energies and derivatives out.

This is what every way of running a trained potential computes: a checkpoint eagerly, a `.pt2` file as one
compiled graph. Positions and energies are in double precision; the network computes in its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from milepost.atoms.messages import reduce_mirrors
from milepost.atoms.potential import Potential

Results = tuple[Tensor, Tensor, Tensor]
"""Energies [atoms] in eV with references, double; forces [atoms, 3] in eV/Å; virials [atoms, 3, 3] in eV."""

Program = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Results]
"""Positions [atoms, 3] and offsets [atoms, slots, 3] in Å.

Arguments: positions, neighbors, reverse, offsets, species; the result is `Results`.
"""

FORMAT_METATOMIC = "metatomic"
FORMAT_COMPILED = "aotinductor"


class AtomicGraph(nn.Module):
    """Compute energy, forces and virial of every atom from positions, with the derivative inside.

    Atomic virials sum to dE/dε of a structure, like atomic energies to its energy; so any number of
    structures is computed at once, and no structure's size is part of the graph. Slots that are empty or
    beyond the cutoff contribute exactly nothing. Sizes of 0 and 1 are special to compilers: give at least 2
    atoms and 2 slots.
    """

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential

    def forward(
        self, positions: Tensor, neighbors: Tensor, reverse: Tensor, offsets: Tensor, species: Tensor
    ) -> Results:
        """Compute `Results`; shapes as in `Program`."""
        potential = self.potential
        vectors = (positions[neighbors] - positions.unsqueeze(1) + offsets).to(potential.scale.dtype)
        with torch.enable_grad():
            vectors = vectors.detach().requires_grad_()
            learned = potential(vectors, neighbors, reverse, species)
            (pull,) = torch.autograd.grad(learned.sum(), vectors)
        forces = pull.sum(1) - reduce_mirrors(pull, neighbors, reverse)
        virials = (vectors.detach().unsqueeze(3) * pull.unsqueeze(2)).sum(1)
        energies = learned.detach().double() + potential.references.index_select(0, species)
        return energies, forces, virials


@dataclass(frozen=True)
class ModelFacts:
    """Hold what must be known of a potential to prepare its input: elements by atomic number, cutoff in Å."""

    atomic_numbers: tuple[int, ...]
    cutoff: float
    layers: int
    dtype: str

    @classmethod
    def of(cls, potential: Potential, layers: int) -> "ModelFacts":
        """Read the facts off a potential."""
        dtype = str(potential.scale.dtype).removeprefix("torch.")
        return cls(tuple(potential.atomic_numbers.tolist()), float(potential.cutoff), layers, dtype)

    @classmethod
    def from_record(cls, facts: Mapping[str, Any]) -> "ModelFacts":
        """Read the facts that an exported file records."""
        numbers = tuple(int(n) for n in facts["atomic_numbers"])
        return cls(numbers, float(facts["cutoff"]), int(facts["layers"]), str(facts["dtype"]))

    def to_record(self) -> dict[str, Any]:
        """State the facts, with units, for an exported file's record."""
        return {
            "atomic_numbers": list(self.atomic_numbers),
            "cutoff": self.cutoff,
            "layers": self.layers,
            "interaction_range": self.cutoff * self.layers,
            "dtype": self.dtype,
            "units": {"length": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"},
        }
