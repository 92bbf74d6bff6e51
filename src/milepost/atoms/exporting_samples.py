"""Make structures that no model has seen, to compare an exported program with the trained model on.

Sizes differ from each other and from those that programs are traced with: one atom alone, two, a few, dozens,
periodic cells smaller than the cutoff and triclinic, and several structures at once. Positions are drawn from
a seeded generator, no two atoms nearer than `SPACING`, so that every export is compared on the same
structures.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from milepost.atoms.tables import Geometry

SPACING = 1.1
"""Shortest distance [Å] between atoms: about a bond of hydrogen with carbon."""

SEED = 20
GRID = 1.6
"""Distance [Å] of the grid points that atoms are shaken from."""


def parity_samples(atomic_numbers: Sequence[int], largest: int) -> list[tuple[str, list[Geometry]]]:
    """Return named batches of structures of these elements, among them one of more than `largest` atoms."""
    random = np.random.default_rng(SEED)
    numbers = np.array(atomic_numbers, dtype=np.int64)
    more = min(2 * largest + 3, 96)
    alone = [_cluster(random, numbers[[i % len(numbers)]], 1) for i in range(len(numbers))]
    clusters = {n: _cluster(random, numbers, n) for n in (2, 7, more)}
    cell = np.array([[3.1, 0.0, 0.0], [0.9, 2.9, 0.0], [-0.4, 0.7, 3.3]])
    crystal = Geometry(random.choice(numbers, 2), _shaken(random, cell), cell, np.ones(3, bool), "two atoms, periodic")
    slab = crystal._replace(periodic=np.array([True, True, False]), where="two atoms, periodic in two directions")
    samples = [("one atom alone", alone[:1])]
    samples += [(f"{n} atoms", [cluster]) for n, cluster in clusters.items()]
    samples += [("2 atoms in a triclinic cell", [crystal]), ("2 atoms in a slab", [slab])]
    samples.append((f"{len(alone) + 4} structures at once", [*alone, *clusters.values(), crystal]))
    return samples


def _cluster(random: np.random.Generator, numbers: NDArray[np.int64], atoms: int) -> Geometry:
    """Shake points of a grid, filled from one corner, so that no two come nearer than the spacing."""
    side = int(np.ceil(atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)[:atoms] * GRID
    shift = (GRID - SPACING) / (2 * np.sqrt(3))
    positions = grid + random.uniform(-shift, shift, (atoms, 3))
    return Geometry(random.choice(numbers, atoms), positions, np.zeros((3, 3)), np.zeros(3, bool), f"{atoms} atoms")


def _shaken(random: np.random.Generator, cell: NDArray[np.float64]) -> NDArray[np.float64]:
    fractional = np.array([[0.05, 0.1, 0.0], [0.55, 0.5, 0.45]])
    return fractional @ cell + random.uniform(-0.1, 0.1, (2, 3))
