"""The loss is the documented function of predictions and targets, written out here in numpy."""

from typing import Any

import ase
import numpy as np
import pytest
import torch

from frames import crystal, frame, labelled, molecule, potential, predicted, structures
from milepost.atoms.loss import Loss
from milepost.atoms.options import LossOptions
from milepost.atoms.reading import Frame

UNIT = 1.7
"""Size of the forces [eV/Å] that errors are divided by."""

STRESS = np.diag([0.01, -0.02, 0.03])


def frames() -> list[Frame]:
    return [
        frame(labelled(molecule(1, atoms=4), 1)),
        frame(labelled(crystal(), 2), stress=STRESS),
        frame(labelled(molecule(2), 3), forces=None),
        frame(labelled(molecule(3, atoms=3), 4), energy=None),
    ]


def systems() -> list[ase.Atoms]:
    return [molecule(1, atoms=4), crystal(), molecule(2), molecule(3, atoms=3)]


def batch_of(given: list[Frame]) -> dict[str, torch.Tensor]:
    data = structures(given)
    return data.batch(torch.arange(len(given)), (len(given) + 1, int(data.count.sum()) + 2))


def penalties(squares: list[float], options: LossOptions) -> float:
    """Average the penalty of squared errors."""
    found = np.array(squares)
    if options.type == "huber":
        found = np.sqrt(found + options.delta**2) - options.delta
    return float(found.mean())


def expected(options: LossOptions) -> dict[str, float]:
    """Write the parts of the loss out, structure by structure."""
    model = potential()
    energies, forces, stresses = [], [], []
    for target, atoms in zip(frames(), systems(), strict=True):
        found = predicted(model, [atoms])
        n = len(atoms)
        if target.energy is not None:
            energies.append(((found.energies.item() - target.energy) / (n * UNIT)) ** 2)
        if target.forces is not None:
            forces += list((((found.forces.numpy()[:n] - target.forces) / UNIT) ** 2).sum(1))
        if target.stress is not None:
            error = found.virials[0].detach().numpy() - target.stress * abs(np.linalg.det(target.cell))
            stresses.append(((error / (n * UNIT)) ** 2).sum())
    parts = {"energy": energies, "forces": forces, "stress": stresses}
    return {name: penalties(squares, options) for name, squares in parts.items()}


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_the_parts_are_averages_over_what_is_there(kind: Any) -> None:
    options = LossOptions(type=kind, delta=0.2, energy=2.0, forces=3.0, stress=5.0)
    total, parts = Loss(options, UNIT, with_stress=True)(potential(), batch_of(frames()))
    wanted = expected(options)
    assert {name: part.item() for name, part in parts.items()} == pytest.approx(wanted, rel=1e-10)
    assert total.item() == pytest.approx(2 * wanted["energy"] + 3 * wanted["forces"] + 5 * wanted["stress"], rel=1e-10)


def test_stress_counts_only_where_it_is_asked_for() -> None:
    total, parts = Loss(LossOptions(), UNIT, with_stress=False)(potential(), batch_of(frames()))
    assert list(parts) == ["energy", "forces"]
    assert total.item() == pytest.approx(parts["energy"].item() + parts["forces"].item())


def perfect(model: torch.nn.Module) -> list[Frame]:
    """Label structures with what the model itself predicts."""
    made = []
    for atoms in systems():
        found = predicted(model, [atoms])  # type: ignore[arg-type]
        made.append(frame(atoms, energy=found.energies.item(), forces=found.forces.numpy()[: len(atoms)]))
    return made


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_perfect_predictions_cost_nothing_and_have_no_slope(kind: Any) -> None:
    model = potential()
    total, _ = Loss(LossOptions(type=kind), UNIT, with_stress=True)(model, batch_of(perfect(model)))
    assert total.item() == pytest.approx(0.0, abs=1e-12)
    gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    assert all(g is None or g.abs().max() < 1e-10 for g in gradients)


def test_huber_is_quadratic_for_small_errors_and_linear_for_large_ones() -> None:
    options, model = LossOptions(type="huber", delta=0.1), potential()
    loss = Loss(options, UNIT, with_stress=False)
    parts = {}
    for size in (1e-4, 1e4):
        shifted = [frame(a, energy=f.energy + size * UNIT * len(a)) for a, f in zip(systems(), perfect(model), strict=True) if f.energy is not None]  # noqa: E501  # fmt: skip
        parts[size] = loss(model, batch_of(shifted))[1]["energy"].item()
    assert parts[1e-4] == pytest.approx(1e-8 / (2 * options.delta), rel=1e-5)
    assert parts[1e4] == pytest.approx(1e4 - options.delta, rel=1e-6)


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_a_turned_structure_costs_the_same(kind: Any) -> None:
    loss, model = Loss(LossOptions(type=kind), UNIT, with_stress=True), potential()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = []
    for given in frames():
        positions, cell = given.positions @ turn.T, given.cell @ turn.T
        forces = None if given.forces is None else given.forces @ turn.T
        stress = None if given.stress is None else turn @ given.stress @ turn.T
        turned.append(Frame(given.numbers, positions, cell, given.periodic, given.energy, forces, stress, given.where))
    first, second = loss(model, batch_of(frames()))[0], loss(model, batch_of(turned))[0]
    assert second.item() == pytest.approx(first.item(), rel=1e-10)


def test_a_batch_without_forces_has_no_force_loss() -> None:
    bare = [frame(labelled(molecule(1)), forces=None)]
    total, parts = Loss(LossOptions(), UNIT, with_stress=False)(potential(), batch_of(bare))
    assert parts["forces"].item() == 0.0
    assert torch.isfinite(total)
