"""In double precision, cairn obeys the symmetries of space and its forces are the slopes of its energy."""

import ase
import numpy as np
import pytest
import torch

from frames import CUTOFF, SPECIES, crystal, frame, molecule, potential, predicted, structures
from milepost.atoms.potential import Potential, Predictions, predict

EXACT = {"rtol": 1e-11, "atol": 1e-12}
SYSTEMS = {"molecule": molecule(3, atoms=6), "crystal": crystal()}

systems = pytest.mark.parametrize("atoms", SYSTEMS.values(), ids=SYSTEMS)


def energy(model: Potential, atoms: ase.Atoms) -> float:
    return predicted(model, [atoms]).energies.item()


def forces(model: Potential, atoms: ase.Atoms) -> np.ndarray:
    return predicted(model, [atoms]).forces.numpy()[: len(atoms)]


def check(found: Predictions, atoms: int, **expected: np.ndarray) -> None:
    for name, value in expected.items():
        given = getattr(found, name).detach().numpy()
        given = given[:atoms] if name in ("forces", "atomic_energies") else given
        np.testing.assert_allclose(given, value, **EXACT, err_msg=name)


def arrays(found: Predictions, atoms: int) -> dict[str, np.ndarray]:
    return {
        "energies": found.energies.detach().numpy(),
        "forces": found.forces.numpy()[:atoms],
        "virials": found.virials.detach().numpy(),
        "atomic_energies": found.atomic_energies.detach().numpy()[:atoms],
    }


def linear_map(kind: str) -> np.ndarray:
    """Return a random rotation, or one with a reflection."""
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    return turn * (np.linalg.det(turn) if kind == "rotation" else -np.linalg.det(turn))


# Symmetries


@systems
@pytest.mark.parametrize("kind", ["rotation", "reflection"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_rotations_and_reflections(atoms: ase.Atoms, kind: str, layers: int) -> None:
    model, turn = potential(layers=layers), linear_map(kind)
    assert np.linalg.det(turn) == pytest.approx(1 if kind == "rotation" else -1)
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T)
    turned.positions = atoms.positions @ turn.T
    before = arrays(predicted(model, [atoms]), len(atoms))
    assert np.abs(before["forces"]).max() > 1e-4
    after = predicted(model, [turned])
    check(
        after,
        len(atoms),
        energies=before["energies"],
        atomic_energies=before["atomic_energies"],
        forces=before["forces"] @ turn.T,
        virials=turn @ before["virials"] @ turn.T,
    )


@systems
def test_translations(atoms: ase.Atoms) -> None:
    model, moved = potential(), atoms.copy()
    moved.positions += [1.234, -5.6, 7.89]
    check(predicted(model, [moved]), len(atoms), **arrays(predicted(model, [atoms]), len(atoms)))


def test_atoms_that_leave_the_cell_come_back_on_the_other_side() -> None:
    model, atoms = potential(), crystal()
    moved = atoms.copy()
    moved.positions += np.array([[1, 0, -2], [0, 3, 0]]) @ atoms.cell.array
    check(predicted(model, [moved]), len(atoms), **arrays(predicted(model, [atoms]), len(atoms)))


@systems
def test_permutations(atoms: ase.Atoms) -> None:
    model, order = potential(), np.random.default_rng(2).permutation(len(atoms))
    before = arrays(predicted(model, [atoms]), len(atoms))
    per_atom = {name: before[name][order] for name in ("forces", "atomic_energies")}
    check(predicted(model, [atoms[order]]), len(atoms), **{**before, **per_atom})


def test_species_matter() -> None:
    atoms = molecule(3, atoms=6)
    other = atoms.copy()
    other.numbers = [{1: 6, 6: 8, 8: 1}[n] for n in atoms.numbers]
    assert abs(energy(potential(), other) - energy(potential(), atoms)) > 1e-3


def test_angles_are_told_apart_where_distances_are_alike() -> None:
    # The ends of the chain do not see each other, straight or bent.
    def chain(angle: float) -> ase.Atoms:
        end = 1.7 * np.array([np.cos(angle), np.sin(angle), 0])
        return ase.Atoms("HOH", positions=[[-1.7, 0, 0], [0, 0, 0], end])

    model = potential(layers=1)
    assert chain(0.8).get_distance(0, 2) > CUTOFF
    assert abs(energy(model, chain(0.0)) - energy(model, chain(0.8))) > 1e-8


# Derivatives


@systems
@pytest.mark.parametrize("layers", [1, 2])
def test_forces_are_finite_differences_of_the_energy(atoms: ase.Atoms, layers: int) -> None:
    model, step = potential(layers=layers), 1e-4
    slopes = np.zeros((len(atoms), 3))
    for i, axis in np.ndindex(slopes.shape):
        shifted = [atoms.copy(), atoms.copy()]
        shifted[0].positions[i, axis] += step
        shifted[1].positions[i, axis] -= step
        slopes[i, axis] = (energy(model, shifted[0]) - energy(model, shifted[1])) / (2 * step)
    found = forces(model, atoms)
    assert np.abs(found).max() > 1e-4
    np.testing.assert_allclose(found, -slopes, atol=1e-8)
    np.testing.assert_allclose(found.sum(0), 0, atol=1e-13)


@systems
def test_the_virial_is_the_finite_difference_under_strain(atoms: ase.Atoms) -> None:
    model, step = potential(), 1e-4

    def strained(row: int, column: int, amount: float) -> float:
        strain = np.eye(3)
        strain[row, column] += amount
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ strain.T)
        copy.positions = atoms.positions @ strain.T
        return energy(model, copy)

    slopes = np.array(
        [[(strained(i, j, step) - strained(i, j, -step)) / (2 * step) for j in range(3)] for i in range(3)]
    )
    found = predicted(model, [atoms]).virials[0].detach().numpy()
    assert np.abs(found).max() > 1e-4
    np.testing.assert_allclose(found, slopes, atol=1e-7)
    np.testing.assert_allclose(found, found.T, atol=1e-12)


@systems
def test_the_gradient_of_a_force_loss_is_its_finite_difference(atoms: ase.Atoms) -> None:
    model = potential()
    parameters = list(model.parameters())
    target = torch.randn(max(2, len(atoms)), 3, dtype=torch.float64)

    def loss() -> torch.Tensor:
        found = predicted(model, [atoms], differentiable=True)
        return ((found.forces - target) ** 2).sum() + found.virials.square().sum() + found.energies.sum()

    gradients = torch.autograd.grad(loss(), parameters, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    step = 1e-5
    for _ in range(4):
        direction = [torch.randn_like(p) for p in parameters]
        slope = sum((g * d).sum().item() for g, d in zip(flat, direction, strict=True))
        values = []
        for sign in (1, -2):
            with torch.no_grad():
                for parameter, d in zip(parameters, direction, strict=True):
                    parameter += sign * step * d
            values.append(loss().item())
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter += step * d
        assert abs(slope) > 1e-3
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-5, abs=1e-7)


# The cutoff


def approaching(distance: float) -> ase.Atoms:
    """Make a bent molecule whose third atom is at a distance [Å] from the first."""
    return ase.Atoms("HCO", positions=[[0, 0, 0], [1.3, 0.9, 0.2], [distance, 0, 0]])


def pull_and_curvature(model: Potential, distance: float) -> tuple[float, float]:
    step = 1e-5
    pulls = [forces(model, approaching(distance + s))[2, 0] for s in (-step, 0, step)]
    return pulls[1], (pulls[2] - pulls[0]) / (2 * step)


@pytest.mark.parametrize("layers", [1, 2])
def test_value_slope_and_curvature_are_continuous_as_a_pair_crosses_the_cutoff(layers: int) -> None:
    model = potential(layers=layers)
    jumps = []
    for gap in (4e-3, 1e-3):
        inside, outside = CUTOFF - gap, CUTOFF + gap
        energies = energy(model, approaching(inside)), energy(model, approaching(outside))
        (pull, curvature), (pull_out, curvature_out) = (
            pull_and_curvature(model, inside), pull_and_curvature(model, outside),
        )  # fmt: skip
        # What a smooth function changes by across the gap is taken off.
        jumps.append(
            (
                abs(energies[1] - energies[0] + gap * (pull + pull_out)),
                abs(pull_out - pull - gap * (curvature + curvature_out)),
                abs(curvature_out - curvature),
            )
        )
    assert len(structures([frame(approaching(CUTOFF - 1e-3), energy=0.0)]).degree.unique()) == 1
    assert len(structures([frame(approaching(CUTOFF + 1e-3), energy=0.0)]).degree.unique()) == 2
    for power, wide, narrow in zip((3, 2, 1), jumps[0], jumps[1], strict=True):
        # A gap a quarter as wide: a jump in the k-th derivative would leave its share standing.
        assert narrow < wide * 0.25**power * 1.5 + 1e-12, power
    assert jumps[0][2] > 1e-9


def test_pairs_beyond_the_cutoff_contribute_nothing() -> None:
    model, atoms = potential(), crystal()
    expected = predicted(model, [atoms])
    wide = structures([frame(atoms, energy=0.0)], cutoff=1.4 * CUTOFF)
    assert wide.slots > structures([frame(atoms, energy=0.0)]).slots
    batch = wide.batch(torch.tensor([0]), (1, 2))
    names = ("vectors", "neighbors", "reverse", "species", "structure")
    found = predict(model, *(batch[n] for n in names), 1, differentiable=False)
    check(found, 2, **arrays(expected, 2))


# Batches and boundaries


def test_a_batch_is_its_structures_one_by_one() -> None:
    model = potential()
    given = [molecule(1, atoms=4), crystal(), ase.Atoms("O"), molecule(2, atoms=7)]
    singles = [arrays(predicted(model, [atoms]), len(atoms)) for atoms in given]
    joined = {name: np.concatenate([single[name] for single in singles]) for name in singles[0]}
    check(predicted(model, given), 14, **joined)
    padded = predicted(model, given, (4, 20))
    check(padded, 14, **joined)
    assert (padded.forces[14:] == 0).all()


@pytest.mark.parametrize("number", SPECIES)
@pytest.mark.parametrize("layers", [1, 2])
def test_an_isolated_atom_has_an_energy_and_no_forces(number: int, layers: int) -> None:
    model = potential(layers=layers)
    found = predicted(model, [ase.Atoms([number])])
    assert torch.isfinite(found.energies).all()
    assert (found.forces == 0).all()
    assert (found.virials == 0).all()
    assert energy(model, ase.Atoms([number], positions=[[5.0, 6, 7]])) == found.energies.item()


def test_atoms_that_do_not_see_each_other_are_isolated_atoms() -> None:
    model = potential()
    apart = ase.Atoms(SPECIES, positions=np.diag([0.0, 20.0, 40.0]))
    found = predicted(model, [apart])
    singles = [energy(model, ase.Atoms([number])) for number in SPECIES]
    np.testing.assert_allclose(found.atomic_energies.detach(), singles, **EXACT)
    assert found.energies.item() == pytest.approx(sum(singles), rel=1e-12)
    assert (found.forces == 0).all()
    in_a_large_cell = ase.Atoms("O", cell=np.eye(3) * 50, pbc=True)
    assert energy(model, in_a_large_cell) == pytest.approx(singles[2], rel=1e-12)


@pytest.mark.parametrize("repeats", [(2, 1, 1), (1, 3, 2), (2, 2, 2)], ids=str)
def test_a_cell_smaller_than_the_cutoff_equals_its_supercell(repeats: tuple[int, int, int]) -> None:
    model, atoms = potential(), crystal()
    assert atoms.cell.lengths().min() < CUTOFF
    times = int(np.prod(repeats))
    before = arrays(predicted(model, [atoms]), len(atoms))
    check(
        predicted(model, [atoms.repeat(repeats)]),
        times * len(atoms),
        energies=times * before["energies"],
        virials=times * before["virials"],
        forces=np.tile(before["forces"], (times, 1)),
        atomic_energies=np.tile(before["atomic_energies"], times),
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_another_choice_of_lattice_vectors_is_the_same_crystal(seed: int) -> None:
    model, atoms = potential(), crystal(seed)
    other = atoms.copy()
    other.set_cell(np.array([[1, 0, 0], [1, 1, 0], [-1, 0, 1]]) @ atoms.cell.array)
    check(predicted(model, [other]), len(atoms), **arrays(predicted(model, [atoms]), len(atoms)))


# Determinism


def test_the_same_bits_come_out_twice() -> None:
    results = []
    for _ in range(2):
        model = potential()
        found = predicted(model, list(SYSTEMS.values()), differentiable=True)
        loss = found.forces.square().sum() + found.virials.square().sum() + found.energies.square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        results.append([*found, *(g for g in gradients if g is not None)])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))
