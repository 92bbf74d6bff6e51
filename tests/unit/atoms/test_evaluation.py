"""`milepost eval`: errors in the target's unit, equal from every kind of file; predictions as XYZ."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

import tiny
from milepost.atoms.evaluation import EvaluationOptions, evaluate_engine, read_structures, write_predictions
from milepost.atoms.opening import open_potential
from milepost.atoms.tables import Geometry
from milepost.errors import DataError, OptionsError, OverwriteError
from milepost.options import load_options

OPTIONS = """
systems: {read_from: frames.xyz}
targets: {energy: {key: energy, unit: eV, forces: true, stress: true}}
"""
ENERGY_ERROR, FORCE_ERROR = 0.25, 0.5


def write_frames(folder: Path) -> None:
    """Write crystals whose energies are wrong by 0.25 eV per atom, and one force component by 0.5 eV/Å."""
    frames = []
    engine = open_potential(tiny.checkpoint()).engine
    for number in range(4):
        atoms = tiny.crystal()
        atoms.rattle(0.02, seed=number)
        atoms.calc = None
        (one,) = engine.predict([Geometry.of(atoms)])
        sign = 1 if number % 2 else -1
        forces = one.forces.copy()
        forces[0, 0] += FORCE_ERROR
        stress = 0.5 * (one.virial + one.virial.T) / atoms.get_volume()
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=one.energy + sign * 2 * ENERGY_ERROR,
            forces=forces,
            stress=[stress[0, 0], stress[1, 1], stress[2, 2], stress[1, 2], stress[0, 2], stress[0, 1]],
        )
        frames.append(atoms)
    ase.io.write(folder / "frames.xyz", frames, format="extxyz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_frames(tmp_path)
    return tmp_path


def options(text: str = OPTIONS) -> EvaluationOptions:
    return load_options(None, EvaluationOptions, text=text)


@pytest.mark.parametrize("kind", ["checkpoint", "scripted"])
def test_errors_are_those_that_were_put_in(folder: Path, kind: str) -> None:
    file = tiny.checkpoint() if kind == "checkpoint" else tiny.scripted()
    asked = options()
    found = evaluate_engine(open_potential(file).engine, read_structures(asked, folder), asked)
    assert (found.frames, found.atoms) == (4, 8)
    assert found.metrics["energy_rmse"] == pytest.approx(ENERGY_ERROR, abs=1e-6)
    assert found.metrics["energy_mae"] == pytest.approx(ENERGY_ERROR, abs=1e-6)
    assert found.metrics["forces_rmse"] == pytest.approx(FORCE_ERROR / np.sqrt(6), abs=1e-5)
    assert found.metrics["forces_mae"] == pytest.approx(FORCE_ERROR / 6, abs=1e-5)
    assert found.metrics["stress_rmse"] < 1e-6
    assert found.units["forces_rmse"] == "eV/Å"
    assert found.seconds_per_atom > 0


def test_errors_come_in_the_targets_unit(folder: Path) -> None:
    """The same numbers read as meV: references of a thousand eV are then far off, and so is the error."""
    asked = options(OPTIONS.replace("unit: eV", "unit: meV"))
    frames = read_structures(asked, folder)
    found = evaluate_engine(open_potential(tiny.checkpoint()).engine, frames, asked)
    energies = [atoms.get_potential_energy() for atoms in found.predictions]
    expected = [abs(1e3 * e - 1e3 * f.energy) / 2 for e, f in zip(energies, frames, strict=True)]
    assert found.metrics["energy_mae"] == pytest.approx(np.mean(expected), rel=1e-9)
    assert found.units["energy_mae"] == "meV/atom"


@pytest.mark.parametrize("atoms_at_once", [1, 3, 100])
def test_the_size_of_batches_changes_nothing(folder: Path, atoms_at_once: int) -> None:
    asked = options(OPTIONS + f"atoms_at_once: {atoms_at_once}\n")
    found = evaluate_engine(open_potential(tiny.checkpoint()).engine, read_structures(asked, folder), asked)
    assert found.metrics["forces_mae"] == pytest.approx(FORCE_ERROR / 6, abs=1e-5)
    assert len(found.predictions) == 4


def test_without_targets_there_are_predictions_only(folder: Path) -> None:
    asked = options("systems: frames.xyz\n")
    found = evaluate_engine(open_potential(tiny.checkpoint()).engine, read_structures(asked, folder), asked)
    assert found.metrics == {}
    assert len(found.predictions) == 4


def test_predictions_are_read_back_by_ase(folder: Path) -> None:
    asked = options()
    found = evaluate_engine(open_potential(tiny.checkpoint()).engine, read_structures(asked, folder), asked)
    path = folder / "out.xyz"
    write_predictions(path, found.predictions)
    read = ase.io.read(path, index=":")
    assert len(read) == 4
    for one, other in zip(read, found.predictions, strict=True):
        assert one.get_potential_energy() == pytest.approx(other.get_potential_energy(), abs=1e-6)
        assert tiny.deviation(one.get_forces(), other.get_forces()) < 1e-7
        assert tiny.deviation(one.get_stress(), other.get_stress()) < 1e-7
    with pytest.raises(OverwriteError, match="a file of that name exists"):
        write_predictions(path, found.predictions)


def test_a_frame_that_the_model_cannot_read_is_named(folder: Path) -> None:
    atoms = ase.Atoms("Si", positions=[[0, 0, 0]])
    ase.io.write(folder / "frames.xyz", atoms, format="extxyz")
    asked = options("systems: frames.xyz\n")
    with pytest.raises(DataError, match=r"frames\.xyz, frame 0, field 'species': expected only H C O, found Si"):
        evaluate_engine(open_potential(tiny.checkpoint()).engine, read_structures(asked, folder), asked)


def test_mistakes_in_the_options_are_listed() -> None:
    with pytest.raises(OptionsError) as caught:
        options("systems: {read_form: frames.xyz}\natoms_at_once: 0\n")
    assert "did you mean 'read_from'" in str(caught.value)
    assert "atoms_at_once" in str(caught.value)
