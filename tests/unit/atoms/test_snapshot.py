"""What a calculator keeps of atoms: everything but the calculator, and every change is seen."""

import ase
import ase.build
import numpy as np
import pytest
from ase.constraints import FixAtoms

from milepost.atoms.snapshot import OBSERVED, Snapshot


def full() -> ase.Atoms:
    """Make atoms that have something of everything that can be copied."""
    atoms = ase.build.bulk("Cu", cubic=True)
    atoms.set_momenta(np.arange(12.0).reshape(4, 3))
    atoms.set_tags([1, 2, 3, 4])
    atoms.set_constraint(FixAtoms([0]))
    atoms.set_celldisp([0.1, 0.2, 0.3])
    atoms.info["note"] = "kept"
    return atoms


def test_atoms_come_back_as_ases_own_copy() -> None:
    atoms = full()
    ours, theirs = Snapshot(atoms).to_atoms(), atoms.copy()
    assert ours == theirs
    assert type(ours) is type(theirs)
    assert set(ours.arrays) == set(theirs.arrays) == {"numbers", "positions", "momenta", "tags"}
    for name, array in theirs.arrays.items():
        assert np.array_equal(ours.arrays[name], array)
    assert ours.info == theirs.info
    assert np.array_equal(ours.get_celldisp(), theirs.get_celldisp())
    assert [c.todict() for c in ours.constraints] == [c.todict() for c in theirs.constraints]
    assert ours.calc is None


def test_later_changes_of_the_atoms_do_not_reach_it() -> None:
    atoms = full()
    before, kept = atoms.copy(), Snapshot(atoms)
    atoms.positions += 1.0
    atoms.arrays["momenta"] += 1.0
    atoms.cell[0, 0] = 9.0
    atoms.pbc[0] = False
    atoms.numbers[0] = 1
    atoms.info["note"] = "changed"
    atoms.constraints[0].index[0] = 3
    made = kept.to_atoms()
    assert made == before
    assert made.info["note"] == "kept"
    assert made.constraints[0].index.tolist() == [0]
    made.positions += 1.0
    assert kept.to_atoms() == before
    assert np.array_equal(kept.geometry.positions, before.positions)


def test_the_smallest_change_is_named() -> None:
    for name in OBSERVED:
        atoms = full()
        kept = Snapshot(atoms)
        assert kept.changes(atoms) == []
        if name == "positions":
            atoms.positions[3, 2] = np.nextafter(atoms.positions[3, 2], np.inf)
        elif name == "numbers":
            atoms.numbers[1] = 1
        elif name == "cell":
            atoms.cell[2, 2] += 1e-12
        else:
            atoms.pbc[1] = False
        assert kept.changes(atoms) == [name]


@pytest.mark.parametrize("change", ["momenta", "tags", "info"])
def test_what_results_do_not_depend_on_is_no_change(change: str) -> None:
    atoms = full()
    kept = Snapshot(atoms)
    if change == "info":
        atoms.info["note"] = "other"
    else:
        atoms.arrays[change] += 1
    assert kept.changes(atoms) == []


def test_another_number_of_atoms_is_a_change() -> None:
    atoms = full()
    kept = Snapshot(atoms)
    del atoms[0]
    assert kept.changes(atoms) == ["positions", "numbers"]
