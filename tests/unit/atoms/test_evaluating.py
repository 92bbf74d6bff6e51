"""Errors are those that numpy finds, in the unit of the target, whatever the batches."""

from typing import Any

import ase
import numpy as np
import pytest
import torch

from frames import crystal, frame, labelled, molecule, potential, predicted, structures
from milepost.atoms import evaluating
from milepost.atoms.evaluating import batches, evaluate
from milepost.atoms.options import ENERGY_UNITS, EnergyOptions, LossOptions
from milepost.atoms.reading import Frame

FACTS = {"force_size": 2.5}
STRESS = np.array([[0.01, 0.002, 0], [0.002, -0.02, 0.003], [0, 0.003, 0.03]])


def systems() -> list[ase.Atoms]:
    return [molecule(1, atoms=4), crystal(1), molecule(2, atoms=7), ase.Atoms("O"), crystal(2)]


def frames() -> list[Frame]:
    made = [frame(labelled(atoms, seed), stress=STRESS if atoms.pbc.all() else None) for seed, atoms in enumerate(systems())]  # noqa: E501  # fmt: skip
    made[2] = frame(labelled(systems()[2], 2), forces=None)
    return made


def expected() -> dict[str, float]:
    """Compute RMSE and MAE in eV and Å, one structure at a time."""
    errors: dict[str, list[np.ndarray]] = {"energy": [], "forces": [], "stress": []}
    for atoms, target in zip(systems(), frames(), strict=True):
        found = predicted(potential(), [atoms])
        errors["energy"].append((found.energies.detach().numpy() - target.energy) / len(atoms))
        if target.forces is not None:
            errors["forces"].append((found.forces.numpy()[: len(atoms)] - target.forces).ravel())
        if target.stress is not None:
            stress = found.virials.detach().numpy()[0] / atoms.get_volume()
            errors["stress"].append((stress - target.stress).ravel())
    joined = {name: np.concatenate(parts) for name, parts in errors.items()}
    rmse = {f"{name}_rmse": float(np.sqrt((e**2).mean())) for name, e in joined.items()}
    return rmse | {f"{name}_mae": float(np.abs(e).mean()) for name, e in joined.items()}


def measured(given: list[Frame], **keywords: Any) -> dict[str, float]:
    return evaluate(potential(), structures(given), EnergyOptions(**keywords), LossOptions(), FACTS)


@pytest.mark.parametrize("unit", ENERGY_UNITS)
def test_errors_are_those_of_numpy_in_the_unit_of_the_target(unit: Any) -> None:
    found = measured(frames(), unit=unit)
    wanted = {name: value / ENERGY_UNITS[unit] for name, value in expected().items()}
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)
    assert found.keys() - wanted.keys() == {"loss"}


@pytest.mark.parametrize("atoms_at_once", [1, 6, 8])
def test_errors_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch, atoms_at_once: int) -> None:
    whole = measured(frames())
    monkeypatch.setattr(evaluating, "batches", lambda data: batches(data, atoms_at_once))
    assert measured(frames()) == pytest.approx(whole, rel=1e-9)


def test_the_loss_is_the_weighted_sum_of_errors_in_units_of_the_forces() -> None:
    loss = LossOptions(energy=2.0, forces=3.0, stress=5.0)
    found = evaluate(potential(), structures(frames()), EnergyOptions(unit="meV"), loss, FACTS)
    wanted = expected()
    total = 2 * wanted["energy_rmse"] + 3 * wanted["forces_rmse"] + 5 * wanted["stress_rmse"]
    assert found["loss"] == pytest.approx(total / FACTS["force_size"], rel=1e-9)


def test_what_has_no_target_has_no_metric() -> None:
    found = measured([frame(labelled(molecule(1)), forces=None)])
    assert found.keys() == {"loss", "energy_rmse", "energy_mae"}


def test_evaluating_leaves_the_model_as_it_was() -> None:
    model = potential()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, structures(frames()), EnergyOptions(), LossOptions(), FACTS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_batches_hold_every_structure_once_in_order_and_are_bounded() -> None:
    data = structures(frames())
    assert [b.tolist() for b in batches(data, 6)] == [[0, 1], [2], [3, 4]]
    assert [b.tolist() for b in batches(data, 1)] == [[0], [1], [2], [3], [4]]
    assert [b.tolist() for b in batches(data)] == [[0, 1, 2, 3, 4]]
    assert batches(structures([])) == []
