"""Turn structures into the tensors that a potential takes, and reuse them while atoms move little.

Promise: a table made for the cutoff plus a skin stays exact until an atom has moved by half the skin (L.
Verlet, Phys. Rev. 159, 98 (1967)), because pairs beyond the cutoff contribute exactly nothing. Fails with
DataError where a structure has unknown elements, overlapping atoms or a periodic cell without volume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import ase
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from milepost.atoms.exporting_graph import ModelFacts
from milepost.atoms.neighbors import EMPTY_LENGTH, NeighborTable, find_neighbors
from milepost.atoms.potential import HIGHEST_ATOMIC_NUMBER
from milepost.atoms.reading import CLOSEST_PAIR, check_geometry, check_overlap, check_species

SMALLEST = 2
"""Fewest atoms and slots of a table: compilers treat sizes of 0 and 1 as special cases."""


class Structure(Protocol):
    """Give what a potential sees of a structure, and a name for it in messages."""

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Atomic numbers, [atoms]."""
        ...

    @property
    def positions(self) -> NDArray[np.float64]:
        """Positions in Å, [atoms, 3]."""
        ...

    @property
    def cell(self) -> NDArray[np.float64]:
        """Lattice vectors in Å, as rows, [3, 3]."""
        ...

    @property
    def periodic(self) -> NDArray[np.bool_]:
        """Directions in which the structure repeats, [3]."""
        ...

    @property
    def where(self) -> str:
        """File and frame, for messages."""
        ...


class Geometry(NamedTuple):
    """Hold one structure without targets; fields as in `Structure`."""

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]
    where: str

    @classmethod
    def of(cls, atoms: ase.Atoms, where: str = "the structure") -> "Geometry":
        """Take what a potential sees of ASE's atoms."""
        return cls(
            atoms.numbers.astype(np.int64),
            np.array(atoms.positions, dtype=np.float64),
            np.array(atoms.cell.array, dtype=np.float64),
            np.array(atoms.pbc, dtype=bool),
            where,
        )


class Prediction(NamedTuple):
    """Hold what a potential says of one structure, references included.

    Units: energy and energies [atoms] in eV, forces [atoms, 3] in eV/Å, virial [3, 3] = dE/dε in eV. All
    double.
    """

    energy: float
    energies: NDArray[np.float64]
    forces: NDArray[np.float64]
    virial: NDArray[np.float64]


@dataclass(frozen=True)
class PairTable:
    """Hold the pairs of a batch as tensors on one device; padded to at least two atoms and two slots.

    Shapes: neighbors and reverse [atoms, slots], in memory column after column, as compiled programs take them;
    offsets [atoms, slots, 3] in Å, species [atoms].
    """

    neighbors: Tensor
    reverse: Tensor
    offsets: Tensor
    species: Tensor


def check_structure(structure: Structure, facts: ModelFacts) -> None:
    """Refuse a structure that the potential can't say anything about."""
    check_geometry(structure.positions, structure.cell, structure.periodic, structure.where)
    check_species(structure.numbers, list(facts.atomic_numbers), structure.where)


def closest_pair(table: NeighborTable) -> float:
    """Return the shortest distance [Å] of a table, infinite where it has no pairs."""
    return float(np.sqrt((table.vectors**2).sum(-1)).min(initial=np.inf))


def tabulate(
    structures: Sequence[Structure], facts: ModelFacts, device: torch.device, skin: float = 0.0
) -> tuple[PairTable, float]:
    """Tabulate the pairs of a batch within cutoff + skin; return the table and the shortest distance in Å.

    Atoms of all structures lie one after another. Raises DataError naming the structure.
    """
    found: list[NeighborTable] = []
    closest = np.inf
    for structure in structures:
        check_structure(structure, facts)
        table = find_neighbors(structure.positions, structure.cell, structure.periodic, facts.cutoff + skin)
        nearest = closest_pair(table)
        check_overlap(nearest, structure.where)
        closest = min(closest, nearest)
        found.append(table)
    species = _species(np.concatenate([s.numbers for s in structures]), facts)
    return _stacked(found, species, facts.cutoff + skin, device), closest


def _species(numbers: NDArray[np.int64], facts: ModelFacts) -> NDArray[np.int64]:
    lookup = np.zeros(HIGHEST_ATOMIC_NUMBER + 1, dtype=np.int64)
    lookup[list(facts.atomic_numbers)] = np.arange(len(facts.atomic_numbers))
    return lookup[numbers]


def _stacked(
    tables: Sequence[NeighborTable], species: NDArray[np.int64], reach: float, device: torch.device
) -> PairTable:
    """Put tables one after another, as wide as the widest; the rest is empty slots and lone atoms."""
    atoms = max(SMALLEST, len(species))
    slots = max([SMALLEST, *(t.neighbors.shape[1] for t in tables)])
    neighbors = np.repeat(np.arange(atoms)[:, None], slots, 1)
    reverse = np.repeat(np.arange(slots)[None, :], atoms, 0)
    offsets = np.zeros((atoms, slots, 3))
    offsets[..., 0] = EMPTY_LENGTH * reach
    start = 0
    for table in tables:
        rows, width = table.neighbors.shape
        filled = np.arange(width)[None, :] < table.degree[:, None]
        neighbors[start : start + rows, :width] = table.neighbors + start
        reverse[start : start + rows, :width] = table.reverse
        offsets[start : start + rows, :width][filled] = table.offsets[filled]
        start += rows
    padded = np.zeros(atoms, dtype=np.int64)
    padded[: len(species)] = species
    columns = (np.asfortranarray(x) for x in (neighbors, reverse))
    return PairTable(*(torch.from_numpy(x).to(device) for x in (*columns, offsets, padded)))


def padded_positions(structures: Sequence[Structure]) -> NDArray[np.float64]:
    """Put the positions of all structures one after another, at least two."""
    positions = np.concatenate([s.positions for s in structures])
    return positions if len(positions) >= SMALLEST else np.concatenate([positions, np.zeros((1, 3))])


class MovingTable:
    """Keep the pair table of a structure while its atoms move by less than half the skin [Å]."""

    def __init__(self, facts: ModelFacts, device: torch.device, skin: float) -> None:
        self.facts = facts
        self.device = device
        self.skin = skin
        self.rebuilds = 0
        self._kept: Geometry | None = None
        self._lattice: tuple[bytes, ...] = ()
        self._table: PairTable | None = None
        self._closest = np.inf

    def update(self, structure: Geometry) -> PairTable:
        """Return a table that is exact for the structure. Raises DataError as `tabulate` does."""
        if self._table is None or self._kept is None or self._lattice != _lattice(structure):
            return self._rebuild(structure)
        moved = structure.positions - self._kept.positions
        farthest = float(np.sqrt(np.einsum("ij,ij->i", moved, moved).max()))
        # Written so that NaN, which compares false, rebuilds and is refused there.
        within = 2.0 * farthest < self.skin and self._closest - 2.0 * farthest >= CLOSEST_PAIR
        return self._table if within else self._rebuild(structure)

    def _rebuild(self, structure: Geometry) -> PairTable:
        self._table, self._closest = tabulate([structure], self.facts, self.device, self.skin)
        self._kept = structure._replace(positions=structure.positions.copy())
        self._lattice = _lattice(structure)
        self.rebuilds += 1
        return self._table


def _lattice(structure: Geometry) -> tuple[bytes, ...]:
    """Give all of a structure but its positions, to be compared: bytes, since small arrays take five times as long."""
    return (structure.numbers.tobytes(), structure.cell.tobytes(), structure.periodic.tobytes())
