"""Find the neighbors of every atom once and lay them out as a padded table.

The table has one row per atom and as many columns ("slots") as the atom with the most neighbors needs. Pairs
are full (i sees j and j sees i) and sorted, so the table is a pure function of the structure. Beside each
pair stands the slot where its mirror lies: row `neighbors[i, k]`, column `reverse[i, k]` points back to i. An
empty slot points to its own atom and to itself, with a vector longer than the cutoff, so it contributes
exactly nothing.

The pairs are found by the library `vesin`; the layout and the reverse slots are made here.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from vesin import NeighborList

EMPTY_LENGTH = 2.0
"""Length of an empty slot's vector in cutoffs: clearly beyond the cutoff, far from any overflow."""


@dataclass(frozen=True)
class NeighborTable:
    """Hold the neighbors of one structure.

    Shapes: neighbors and reverse [atoms, slots], integers; vectors [atoms, slots, 3] in Å, from the atom to
    its neighbor's image; offsets [atoms, slots, 3] in Å, the lattice part of the vectors. `degree` [atoms]
    counts the filled slots, which come first.
    """

    neighbors: NDArray[np.int64]
    reverse: NDArray[np.int64]
    vectors: NDArray[np.float64]
    offsets: NDArray[np.float64]
    degree: NDArray[np.int64]


def find_neighbors(
    positions: NDArray[np.float64], cell: NDArray[np.float64], periodic: NDArray[np.bool_], cutoff: float
) -> NeighborTable:
    """Tabulate all pairs closer than the cutoff, images included.

    Shapes and units: positions [atoms, 3] and cell [3, 3] (rows are lattice vectors) in Å, periodic [3],
    cutoff in Å.
    """
    box = np.where(periodic[:, None], cell, 0.0)
    search = NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    i, j, shifts = search.compute(points=positions, box=box, periodic=periodic, quantities="ijS")
    first, second, shifts = i.astype(np.int64), j.astype(np.int64), shifts.astype(np.int64)
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], second, first))
    first, second, shifts = first[order], second[order], shifts[order]
    mirror = np.lexsort((-shifts[:, 2], -shifts[:, 1], -shifts[:, 0], first, second))
    return _layout(positions, box, cutoff, first, second, shifts, mirror)


def _layout(
    positions: NDArray[np.float64],
    box: NDArray[np.float64],
    cutoff: float,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    shifts: NDArray[np.int64],
    mirror: NDArray[np.int64],
) -> NeighborTable:
    """Fill the table from sorted pairs; `mirror[p]` is the pair that is the mirror of pair p."""
    atoms = len(positions)
    degree = np.bincount(first, minlength=atoms)
    slots = int(degree.max(initial=0))
    slot = np.arange(len(first)) - (np.cumsum(degree) - degree)[first]
    neighbors = np.repeat(np.arange(atoms)[:, None], slots, 1)
    reverse = np.repeat(np.arange(slots)[None, :], atoms, 0)
    offsets = np.zeros((atoms, slots, 3))
    vectors = np.zeros((atoms, slots, 3))
    vectors[..., 0] = EMPTY_LENGTH * cutoff
    neighbors[first, slot] = second
    reverse[first, slot] = slot[mirror]
    lattice = shifts @ box
    offsets[first, slot] = lattice
    vectors[first, slot] = positions[second] - positions[first] + lattice
    return NeighborTable(neighbors, reverse, vectors, offsets, degree)


def tabulate_pairs(first: Tensor, second: Tensor, vectors: Tensor, atoms: int, empty: float) -> tuple[Tensor, Tensor]:
    """Lay given pairs out as a table, differentiably and in TorchScript.

    Shapes and units: first and second [pairs], vectors [pairs, 3] in Å, `empty` the length of empty slots'
    vectors in Å → neighbors [atoms, slots] and vectors [atoms, slots, 3]. The pairs may come in any order;
    every pair needs its mirror among them.
    """
    order = torch.argsort(first, stable=True)
    row = first[order]
    degree = torch.zeros(atoms, dtype=torch.long, device=first.device)
    degree.index_add_(0, row, torch.ones_like(row))
    slots = int(degree.max()) if atoms > 0 else 0
    column = torch.arange(row.shape[0], device=first.device) - (torch.cumsum(degree, 0) - degree)[row]
    neighbors = torch.arange(atoms, device=first.device).unsqueeze(1).repeat(1, slots)
    neighbors = neighbors.index_put((row, column), second[order])
    table = torch.zeros((atoms, slots, 3), dtype=vectors.dtype, device=vectors.device)
    table[:, :, 0] = empty
    return neighbors, table.index_put((row, column), vectors[order])
