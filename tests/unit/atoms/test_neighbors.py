"""Neighbor tables agree with ASE's neighbor list, and their mirror slots point back."""

import ase
import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from frames import CUTOFF, TRICLINIC, crystal, molecule
from milepost.atoms.neighbors import EMPTY_LENGTH, NeighborTable, find_neighbors, tabulate_pairs

PERIODICITIES = {"molecule": "FFF", "wire": "FTF", "slab": "TTF", "crystal": "TTT"}


def table_of(atoms: ase.Atoms, cutoff: float = CUTOFF) -> NeighborTable:
    return find_neighbors(atoms.get_positions(), atoms.cell.array, atoms.pbc, cutoff)


def filled(table: NeighborTable) -> tuple[np.ndarray, np.ndarray]:
    """List row and column of every slot in use."""
    rows, columns = np.nonzero(np.arange(table.neighbors.shape[1])[None, :] < table.degree[:, None])
    return rows, columns


def pairs_of(table: NeighborTable) -> list[tuple[float, ...]]:
    rows, columns = filled(table)
    vectors = table.vectors[rows, columns].round(6) + 0.0
    return sorted((i, j, *v) for i, j, v in zip(rows, table.neighbors[rows, columns], vectors, strict=True))


def pairs_of_ase(atoms: ase.Atoms, cutoff: float = CUTOFF) -> list[tuple[float, ...]]:
    first, second, vectors = neighbor_list("ijD", atoms, cutoff)
    return sorted((i, j, *v) for i, j, v in zip(first, second, vectors.round(6) + 0.0, strict=True))


def check_mirrors(table: NeighborTable) -> None:
    i, k = filled(table)
    j, mirror = table.neighbors[i, k], table.reverse[i, k]
    np.testing.assert_array_equal(table.neighbors[j, mirror], i)
    np.testing.assert_array_equal(table.reverse[j, mirror], k)
    np.testing.assert_allclose(table.vectors[j, mirror], -table.vectors[i, k], atol=1e-12)
    np.testing.assert_allclose(table.offsets[j, mirror], -table.offsets[i, k], atol=1e-12)


@pytest.mark.parametrize("periodic", PERIODICITIES.values(), ids=PERIODICITIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_all_pairs_of_ase_are_found(periodic: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Some atoms lie outside the cell, which is skewed and shorter than the cutoff.
    atoms = ase.Atoms("HCOH", positions=rng.uniform(-2, 2, (4, 3)), cell=TRICLINIC)
    atoms.pbc = [p == "T" for p in periodic]
    table = table_of(atoms)
    assert len(pairs_of(table)) > 0
    assert pairs_of(table) == pairs_of_ase(atoms)
    check_mirrors(table)


def test_what_is_not_periodic_is_not_repeated() -> None:
    atoms = ase.Atoms("H", cell=np.eye(3), pbc=[True, False, False])
    assert pairs_of(table_of(atoms, 1.5)) == [(0, 0, -1.0, 0.0, 0.0), (0, 0, 1.0, 0.0, 0.0)]


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), periodic=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_mirror_slots_are_an_involution(seed: int, periodic: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * rng.uniform(1.5, 4) + rng.uniform(-0.5, 0.5, (3, 3))
    positions = rng.uniform(-4, 4, (int(rng.integers(1, 7)), 3))
    check_mirrors(find_neighbors(positions, cell, np.array(periodic), CUTOFF))


def test_pairs_at_the_cutoff_itself_keep_their_mirrors() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        edge = rng.uniform(1, 2)
        positions = rng.uniform(-9, 9, 3) + np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) * edge
        check_mirrors(find_neighbors(positions, np.eye(3) * edge, np.ones(3, dtype=bool), edge))


def test_pairs_are_sorted_whatever_the_origin() -> None:
    atoms = crystal()
    table = table_of(atoms)
    i, k = filled(table)
    np.testing.assert_array_equal(np.diff(table.neighbors[i, k])[np.diff(i) == 0] >= 0, True)
    atoms.positions += 0.123
    np.testing.assert_array_equal(table_of(atoms).neighbors, table.neighbors)
    np.testing.assert_array_equal(table_of(atoms).reverse, table.reverse)


def test_offsets_are_the_lattice_part_of_vectors() -> None:
    atoms = crystal()
    table = table_of(atoms)
    i, k = filled(table)
    distance = atoms.positions[table.neighbors[i, k]] - atoms.positions[i]
    np.testing.assert_allclose(distance + table.offsets[i, k], table.vectors[i, k], atol=1e-12)
    shifts = table.offsets[i, k] @ np.linalg.inv(TRICLINIC)
    np.testing.assert_allclose(shifts, shifts.round(), atol=1e-9)


@pytest.mark.parametrize("atoms", [1, 3])
def test_atoms_without_neighbors_have_no_slots(atoms: int) -> None:
    positions = np.arange(atoms)[:, None] * np.array([[100.0, 0, 0]])
    table = find_neighbors(positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), CUTOFF)
    assert table.neighbors.shape == table.reverse.shape == (atoms, 0)
    assert table.vectors.shape == table.offsets.shape == (atoms, 0, 3)
    assert table.degree.tolist() == [0] * atoms


def test_an_empty_slot_points_to_itself_beyond_the_cutoff() -> None:
    atoms = ase.Atoms("HHHO", positions=[[0, 0, 0], [1, 0, 0], [0, 1, 0], [50, 0, 0]])
    table = table_of(atoms, 1.2)
    assert table.degree.tolist() == [2, 1, 1, 0]
    np.testing.assert_array_equal(table.neighbors[3], [3, 3])
    np.testing.assert_array_equal(table.reverse[3], [0, 1])
    np.testing.assert_array_equal(table.vectors[3], [[EMPTY_LENGTH * 1.2, 0, 0]] * 2)
    np.testing.assert_array_equal(table.neighbors[1], [0, 1])


@pytest.mark.parametrize("atoms", [molecule(), crystal()], ids=["molecule", "crystal"])
@pytest.mark.parametrize("scripted", [False, True], ids=["eager", "TorchScript"])
def test_given_pairs_are_laid_out_as_found_ones(atoms: ase.Atoms, scripted: bool) -> None:
    layout = torch.jit.script(tabulate_pairs) if scripted else tabulate_pairs
    table = table_of(atoms)
    i, k = filled(table)
    shuffled = np.random.default_rng(0).permutation(len(i))
    i, k = i[shuffled], k[shuffled]
    first, second = torch.from_numpy(i), torch.from_numpy(table.neighbors[i, k])
    vectors = torch.from_numpy(table.vectors[i, k])
    neighbors, laid = layout(first, second, vectors, len(atoms), EMPTY_LENGTH * CUTOFF)
    assert neighbors.shape == table.neighbors.shape
    for row in range(len(atoms)):
        expected = sorted(
            (j, *v) for j, v in zip(table.neighbors[row].tolist(), table.vectors[row].tolist(), strict=True)
        )
        found = sorted((j, *v) for j, v in zip(neighbors[row].tolist(), laid[row].tolist(), strict=True))
        assert found == expected


def test_a_layout_of_no_pairs_has_no_slots_and_gradients_reach_the_vectors() -> None:
    none = torch.zeros(0, dtype=torch.long)
    neighbors, laid = tabulate_pairs(none, none, torch.zeros(0, 3), 2, 6.0)
    assert neighbors.shape == (2, 0)
    assert laid.shape == (2, 0, 3)
    vectors = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], requires_grad=True)
    tabulate_pairs(torch.tensor([0, 1]), torch.tensor([1, 0]), vectors, 2, 6.0)[1].sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.tolist() == [[1.0] * 3] * 2
