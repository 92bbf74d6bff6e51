"""Keep what atoms were when their energy was computed, and tell whether they have changed since.

Both are done once or more in every step of dynamics, so they are made of few operations: ASE's own copy and
comparison take as long as a small model. Needs nothing of a model.
"""

import copy
from typing import Any

import ase
import numpy as np

from milepost.atoms.tables import Geometry

OBSERVED = ("positions", "numbers", "cell", "pbc")
"""What a potential's results depend on, by ASE's names."""


class Snapshot:
    """Hold all that ASE's atoms hold, except for their calculator; later changes of theirs don't reach it."""

    def __init__(self, atoms: ase.Atoms) -> None:
        self._kind = type(atoms)
        self._arrays: dict[str, Any] = {name: array.copy() for name, array in atoms.arrays.items()}
        self._info = dict(atoms.info)
        self._constraints = copy.deepcopy(atoms.constraints) if atoms.constraints else []
        self._offset = atoms.get_celldisp()
        cell, periodic = atoms.cell.array.copy(), atoms.pbc.copy()
        self.geometry = Geometry(
            self._arrays["numbers"].astype(np.int64, copy=False),
            self._arrays["positions"].astype(np.float64, copy=False),
            cell,
            periodic,
            "the structure",
        )
        self._state = _state(atoms)

    def changes(self, atoms: ase.Atoms) -> list[str]:
        """Name what of `OBSERVED` differs in these atoms, by a single bit."""
        now = _state(atoms)
        if now == self._state:
            return []
        return [name for name, new, old in zip(OBSERVED, now, self._state, strict=True) if new != old]

    def to_atoms(self) -> ase.Atoms:
        """Make atoms as they were; each call makes others."""
        made = self._kind(cell=self.geometry.cell, pbc=self.geometry.periodic, info=self._info, celldisp=self._offset)
        made.arrays = {name: array.copy() for name, array in self._arrays.items()}
        made.constraints = copy.deepcopy(self._constraints)
        return made


def _state(atoms: ase.Atoms) -> tuple[bytes, ...]:
    """Give what is compared, in the order of `OBSERVED`: bytes, since small arrays take five times as long."""
    return (atoms.positions.tobytes(), atoms.numbers.tobytes(), atoms.cell.array.tobytes(), atoms.pbc.tobytes())
