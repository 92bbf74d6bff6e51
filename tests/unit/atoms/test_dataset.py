"""A batch is its structures one after another, padding adds nothing, the fingerprint sees every number."""

import dataclasses
from collections.abc import Callable
from typing import Any

import ase
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from frames import CUTOFF, SPECIES, crystal, frame, labelled, molecule, potential, structures
from milepost.atoms.dataset import SHAPES, Structures
from milepost.atoms.loss import Loss
from milepost.atoms.options import LossOptions
from milepost.atoms.reading import Frame

PER_ATOM = ("vectors", "species", "forces", "force_weights")
PER_STRUCTURE = ("sizes", "energies", "energy_weights", "virials", "stress_weights")


def mixed() -> list[Frame]:
    """Make molecules of several sizes, a crystal with stress, and a lone atom."""
    stress = np.array([[0.1, 0.2, 0.3], [0.2, 0.4, 0.5], [0.3, 0.5, 0.6]])
    return [
        frame(labelled(molecule(1, atoms=4), 1)),
        frame(labelled(crystal(), 2), stress=stress),
        frame(labelled(ase.Atoms("O"), 3)),
        frame(labelled(molecule(2, atoms=7), 4), forces=None),
    ]


def whole(data: Structures, indices: list[int]) -> dict[str, torch.Tensor]:
    """Cut out a batch without padding."""
    chosen = torch.tensor(indices)
    return data.batch(chosen, (len(indices), int(data.count[chosen].sum())))


# Batches


def test_a_batch_is_its_structures_one_after_another() -> None:
    data = structures(mixed())
    order = [3, 1, 2, 0]
    batch, singles = whole(data, order), [whole(data, [i]) for i in order]
    for name in (*PER_ATOM, *PER_STRUCTURE, "reverse"):
        assert torch.equal(batch[name], torch.cat([single[name] for single in singles])), name
    assert batch["structure"].tolist() == [0] * 7 + [1] * 2 + [2] + [3] * 4
    starts = torch.tensor([0] * 7 + [7] * 2 + [9] + [10] * 4)
    own = torch.cat([single["neighbors"] for single in singles])
    assert torch.equal(batch["neighbors"], own + starts[:, None])


def test_a_batch_holds_the_targets_of_its_frames() -> None:
    frames = mixed()
    batch = whole(structures(frames), [1, 3])
    assert batch["energies"].tolist() == [frames[1].energy, frames[3].energy]
    np.testing.assert_array_equal(batch["forces"][:2], frames[1].forces)
    assert batch["force_weights"].tolist() == [1.0] * 2 + [0.0] * 7
    assert batch["stress_weights"].tolist() == [1.0, 0.0]
    assert frames[1].stress is not None
    np.testing.assert_allclose(batch["virials"][0], frames[1].stress * crystal().get_volume(), rtol=1e-12)
    assert batch["sizes"].tolist() == [2.0, 7.0]


def test_a_batch_is_a_pure_function_of_the_indices() -> None:
    data = structures(mixed())
    first = whole(data, [0, 1])
    first["energies"].zero_()
    first["vectors"].zero_()
    again = whole(data, [0, 1])
    assert again["vectors"].abs().sum() > 0
    assert again["energies"].tolist() == [f.energy for f in mixed()[:2]]


@pytest.mark.parametrize("shape", [(4, 14), (4, 15), (4, 40), (6, 14), (9, 30)], ids=str)
@pytest.mark.parametrize("kind", ["huber", "mse"])
def test_padding_changes_neither_loss_nor_gradients(shape: tuple[int, int], kind: Any) -> None:
    data, model = structures(mixed()), potential()
    loss = Loss(LossOptions(type=kind), 1.3, with_stress=True)
    results = []
    for used in ((4, 14), shape):
        batch = data.batch(torch.tensor([3, 1, 2, 0]), used)
        assert (len(batch["energies"]), len(batch["species"])) == used
        total, parts = loss(model, batch)
        gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
        results.append([total, *parts.values(), *(g for g in gradients if g is not None)])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_empty_structures_and_atoms_weigh_nothing() -> None:
    batch = structures(mixed()).batch(torch.tensor([0]), (3, 9))
    assert {name: len(value) for name, value in batch.items() if name in PER_STRUCTURE} == dict.fromkeys(
        PER_STRUCTURE, 3
    )
    assert batch["structure"].tolist() == [0] * 4 + [3] * 5
    assert batch["force_weights"].tolist() == [1.0] * 4 + [0.0] * 5
    assert batch["energy_weights"].tolist() == [1.0, 0.0, 0.0]
    assert batch["sizes"].tolist() == [4.0, 1.0, 1.0]
    assert batch["neighbors"][4:].tolist() == [[i] * batch["neighbors"].shape[1] for i in range(4, 9)]
    assert (batch["vectors"][4:].norm(dim=-1) > CUTOFF).all()


# Shapes


def chain(atoms: int) -> Frame:
    """Make a frame of atoms that do not see each other."""
    return frame(ase.Atoms("H" * atoms, positions=np.arange(atoms)[:, None] * [9.0, 0, 0]), energy=0.0)


CHAINS = {count: chain(count) for count in range(1, 13)}


@given(
    counts=st.lists(st.sampled_from(sorted(CHAINS)), min_size=1, max_size=12),
    batch_size=st.integers(1, 14),
    order=st.randoms(use_true_random=False),
)
def test_shapes_hold_every_batch(counts: list[int], batch_size: int, order: Any) -> None:
    data = structures([CHAINS[count] for count in counts])
    shapes = data.shapes(batch_size)
    assert 1 <= len(shapes) <= SHAPES
    assert shapes == sorted(set(shapes))
    for size in {1, min(batch_size, len(counts))}:
        chosen = torch.tensor(order.sample(range(len(counts)), size))
        shape = data.shape_for(chosen, shapes)
        used = int(data.count[chosen].sum())
        assert shape in shapes
        assert shape[1] >= used
        assert not [s for s in shapes if used <= s[1] < shape[1]]
        batch = data.batch(chosen, shape)
        assert (len(batch["energies"]), len(batch["species"])) == shape


def test_structures_alike_need_one_shape_and_no_padding() -> None:
    data = structures([CHAINS[5]] * 7)
    assert data.shapes(3) == [(3, 15)]
    assert data.shapes(10) == [(7, 35)]


# What is held


def test_energies_are_rounded_after_references_are_subtracted() -> None:
    frames = [chain(3), chain(5)]
    frames = [dataclasses.replace(f, energy=-2.0e6 * len(f.numbers) + 1e-3) for f in frames]
    data = Structures(frames, CUTOFF, SPECIES)
    data.finish(torch.tensor([-2.0e6, 7.0, 7.0], dtype=torch.float64), torch.float32, torch.device("cpu"))
    assert data.energies.dtype == data.vectors.dtype == torch.float32
    assert data.species.dtype == data.neighbors.dtype == torch.int64
    np.testing.assert_allclose(data.energies, [1e-3] * 2, rtol=1e-5)


def test_the_composition_counts_species() -> None:
    data = Structures([frame(ase.Atoms("HOO", positions=np.diag([0.0, 5, 9])), energy=0.0), chain(2)], 3.0, SPECIES)
    assert data.composition(3).tolist() == [[1, 0, 2], [2, 0, 0]]


def test_a_set_may_be_empty() -> None:
    data = structures([])
    assert len(data) == 0
    assert data.forces.shape == (0, 3)
    assert data.virials.shape == (0, 3, 3)
    assert data.fingerprint().startswith("blake3:")


# The fingerprint

CHANGES: dict[str, Callable[[Frame], dict[str, Any]]] = {
    "a position": lambda f: {"positions": f.positions + np.eye(len(f.numbers), 3) * 1e-12},
    "a species": lambda f: {"numbers": f.numbers[::-1].copy()},
    "the cell": lambda f: {"cell": f.cell * (1 + 1e-12)},
    "the periodicity": lambda f: {"periodic": np.array([True, True, False])},
    "the energy": lambda f: {"energy": np.nextafter(f.energy or 0.0, np.inf)},
    "a force": lambda f: {"forces": f.forces * -1.0 if f.forces is not None else None},
    "absent forces": lambda _: {"forces": None},
    "the stress": lambda _: {"stress": np.eye(3) * 1e-9},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_changes_with(change: str) -> None:
    first, second = frame(labelled(crystal(1), 1)), frame(labelled(crystal(2), 2))
    fingerprint = structures([first, second]).fingerprint()
    assert structures([first, second]).fingerprint() == fingerprint
    changed = dataclasses.replace(second, **CHANGES[change](second))
    assert structures([first, changed]).fingerprint() != fingerprint


def test_the_fingerprint_changes_with_the_order_and_not_with_names_or_precision() -> None:
    first, second = frame(labelled(crystal(1), 1)), frame(labelled(crystal(2), 2))
    data = Structures([first, second], CUTOFF, SPECIES)
    fingerprint = data.fingerprint()
    assert structures([second, first]).fingerprint() != fingerprint
    assert structures([first, dataclasses.replace(second, where="elsewhere")]).fingerprint() == fingerprint
    data.finish(torch.ones(3, dtype=torch.float64), torch.float32, torch.device("cpu"))
    assert data.fingerprint() == fingerprint
