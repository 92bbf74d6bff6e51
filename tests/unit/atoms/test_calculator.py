"""The ASE calculator: right results, reuse of pairs that changes nothing, and telling refusals."""

import shutil
import zipfile
from pathlib import Path

import ase
import ase.units
import numpy as np
import pytest
import torch
from ase.md.verlet import VelocityVerlet

import tiny
from milepost.atoms import Calculator
from milepost.atoms.engines import TableEngine
from milepost.errors import DamagedArchiveError, DataError, ExportError, MilepostError, NotAnArchiveError


def calculator(precision: int = 64, **settings: float) -> Calculator:
    return Calculator(tiny.checkpoint(precision=precision), **settings)


def energy_of(atoms: ase.Atoms, calc: Calculator) -> float:
    copy = atoms.copy()
    copy.calc = calc
    return copy.get_potential_energy()


@pytest.mark.parametrize("name", ["ethanol", "crystal", "wire"])
def test_forces_are_the_derivative_of_the_energy(name: str) -> None:
    atoms, calc, step = tiny.structures()[name], calculator(), 1e-4
    atoms.calc = calc
    forces = atoms.get_forces()
    for i, axis in ((0, 0), (1, 1), (len(atoms) - 1, 2)):
        moved = [atoms.copy(), atoms.copy()]
        for copy, sign in zip(moved, (1, -1), strict=True):
            copy.positions[i, axis] += sign * step
        up, down = (energy_of(copy, calc) for copy in moved)
        assert forces[i, axis] == pytest.approx(-(up - down) / (2 * step), abs=1e-8)


def test_stress_is_the_derivative_with_respect_to_strain() -> None:
    atoms, calc, step = tiny.crystal(), calculator(), 1e-5
    atoms.calc = calc
    stress = atoms.get_stress(voigt=False)
    assert np.abs(stress).max() > 1e-5
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(energy_of(strained, calc))
        derivative = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        assert stress[a, b] == pytest.approx(derivative, abs=1e-8)


def test_a_small_cell_and_its_repetition_agree() -> None:
    small, large = tiny.crystal(), tiny.crystal().repeat((2, 2, 2))
    for atoms in (small, large):
        atoms.calc = calculator()
    assert large.get_potential_energy() == pytest.approx(8 * small.get_potential_energy(), abs=1e-8)
    assert tiny.deviation(large.get_stress(), small.get_stress()) < 1e-10
    assert tiny.deviation(large.get_forces()[:2], small.get_forces()) < 1e-9


def test_energies_of_atoms_sum_to_the_energy() -> None:
    atoms = tiny.ethanol()
    atoms.calc = calculator()
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    assert atoms.calc.results["free_energy"] == atoms.get_potential_energy()


def test_a_molecule_has_no_stress() -> None:
    atoms = tiny.ethanol()
    atoms.calc = calculator()
    with pytest.raises(NotImplementedError):
        atoms.get_stress()


@pytest.mark.parametrize(("kind", "steps"), [("checkpoint", 12), ("scripted", 3)])
def test_pairs_that_are_kept_change_nothing(kind: str, steps: int) -> None:
    file = tiny.checkpoint() if kind == "checkpoint" else tiny.scripted()
    kept, fresh = Calculator(file, skin=0.6), Calculator(file, skin=0.0)
    atoms, random = tiny.crystal().repeat((2, 1, 1)), np.random.default_rng(1)
    for _ in range(steps):
        atoms.positions += random.normal(scale=0.04, size=atoms.positions.shape)
        results = []
        for calc in (kept, fresh):
            copy = atoms.copy()
            copy.calc = calc
            results.append((copy.get_potential_energy(), copy.get_forces(), copy.get_stress()))
        assert tiny.deviation(results[0][0], results[1][0]) < 2e-5
        assert tiny.deviation(results[0][1], results[1][1]) < 1e-6


def test_pairs_are_searched_again_only_when_needed() -> None:
    calc = calculator(skin=0.6)
    engine = calc._opened.engine
    assert isinstance(engine, TableEngine)
    atoms = tiny.crystal()
    atoms.calc = calc
    searches = []
    for change in (
        lambda: None,
        lambda: atoms.positions.__setitem__((0, 0), atoms.positions[0, 0] + 0.29),
        lambda: atoms.positions.__setitem__((0, 0), atoms.positions[0, 0] + 0.02),
        lambda: atoms.set_cell(atoms.cell.array * 1.001),
        lambda: atoms.set_pbc([True, True, False]),
        lambda: atoms.set_atomic_numbers([8, 6]),
    ):
        change()
        atoms.get_potential_energy()
        searches.append(engine._moving.rebuilds)
    assert searches == [1, 1, 2, 3, 4, 5]


def test_energy_is_conserved_in_dynamics() -> None:
    """In double precision what is left is the integrator's error: it falls with the square of the step."""
    drifts = []
    for step, steps in ((0.5, 80), (0.25, 160)):
        atoms = tiny.ethanol()
        atoms.calc = calculator()
        spread = np.sqrt(300 * ase.units.kB * atoms.get_masses())[:, None]
        atoms.set_momenta(np.random.default_rng(0).normal(size=(9, 3)) * spread)
        dynamics = VelocityVerlet(atoms, step * ase.units.fs)
        totals = []
        for _ in range(steps // 20):
            totals.append(atoms.get_total_energy())
            dynamics.run(20)
        totals.append(atoms.get_total_energy())
        drifts.append(max(totals) - min(totals))
    assert drifts[0] < 1e-5
    assert drifts[1] < 0.35 * drifts[0]


def test_the_model_and_what_to_cite_are_shown() -> None:
    text = repr(Calculator(tiny.scripted()))
    assert "Calculator of 'tiny' from" in text
    assert "(metatomic, H C O)" in text
    assert "A. Author" in text
    assert "model: doi:10.1/model" in text
    assert "architecture: doi:10.1/architecture" in Calculator(tiny.checkpoint()).citation()


def refused(atoms: ase.Atoms, text: str) -> None:
    atoms.calc = calculator()
    with pytest.raises(DataError, match=text):
        atoms.get_potential_energy()


def test_an_unknown_element_is_named() -> None:
    refused(ase.Atoms("HSi", positions=[[0, 0, 0], [0, 0, 1.5]]), "field 'species': expected only H C O, found Si")


def test_overlapping_atoms_are_named() -> None:
    refused(
        ase.Atoms("HH", positions=[[0, 0, 0], [0, 0, 0.1]]),
        "expected atoms at least 0.3 Å apart, found a pair at",
    )


def test_a_periodic_cell_without_volume_is_named() -> None:
    refused(ase.Atoms("H", pbc=True), "field 'cell': expected independent lattice vectors")


def test_positions_that_are_no_numbers_are_named() -> None:
    refused(ase.Atoms("H", positions=[[0, 0, np.nan]]), "field 'positions': expected finite numbers, found nan")


def test_atoms_that_collide_between_searches_are_refused() -> None:
    atoms = ase.Atoms("HH", positions=[[0, 0, 0], [0, 0, 1.0]], calculator=calculator(skin=5.0))
    atoms.get_potential_energy()
    atoms.positions[1, 2] = 0.05
    with pytest.raises(DataError, match=r"found a pair at 0\.0500 Å"):
        atoms.get_potential_energy()


@pytest.mark.parametrize("content", [b"", b"3\n\nH 0 0 0\n", b"PK\x03\x04rest", b"\x80\x02rest"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(NotAnArchiveError, match="expected a checkpoint or a model exported by milepost"):
        Calculator(path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    data = bytearray(tiny.checkpoint().read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedArchiveError):
        Calculator(path)


def test_a_truncated_export_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(tiny.scripted().read_bytes()[:-100])
    with pytest.raises(MilepostError, match="another kind of file or a damaged one"):
        Calculator(path)


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    for number, file in enumerate((tiny.checkpoint(), tiny.scripted())):
        path = tmp_path / f"model{number}.xyz"
        shutil.copy(file, path)
        atoms = tiny.ethanol()
        atoms.calc = Calculator(path)
        assert np.isfinite(atoms.get_potential_energy())


def test_a_format_from_the_future_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tiny.scripted()) as archive:
        text = archive.read(next(n for n in archive.namelist() if n.endswith("milepost.json"))).decode()
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/extra/milepost.json", text.replace('"metatomic"', '"hologram"'))
    with pytest.raises(ExportError, match="expected the format 'metatomic' or 'aotinductor', found 'hologram'"):
        Calculator(path)


@pytest.mark.parametrize("kind", ["checkpoint", "scripted"])
def test_a_device_that_is_absent_is_named(kind: str) -> None:
    file = tiny.checkpoint() if kind == "checkpoint" else tiny.scripted()
    with pytest.raises(ExportError, match="expected a device that torch knows, as cpu or cuda, found 'abacus'"):
        Calculator(file, device="abacus")


def test_settings_of_torch_are_left_alone() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        atoms = tiny.ethanol()
        atoms.calc = calculator()
        atoms.get_potential_energy()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_only_what_the_results_depend_on_makes_a_new_calculation() -> None:
    atoms = tiny.crystal()
    atoms.calc = calculator()
    atoms.get_potential_energy()
    atoms.set_momenta(np.ones((2, 3)))
    atoms.set_tags([1, 2])
    assert atoms.calc.check_state(atoms) == []
    atoms.positions[0, 0] += 1e-14
    assert atoms.calc.check_state(atoms) == ["positions"]
    atoms.set_cell(atoms.cell.array * 1.01)
    atoms.set_pbc([True, True, False])
    atoms.set_atomic_numbers([8, 8])
    assert atoms.calc.check_state(atoms) == ["positions", "numbers", "cell", "pbc"]


def test_the_atoms_of_the_last_calculation_are_kept() -> None:
    """As ASE's other calculators keep them: a copy, and none before a calculation."""
    calc, atoms = calculator(), tiny.ethanol()
    assert calc.atoms is None
    atoms.calc = calc
    before = atoms.copy()
    atoms.get_potential_energy()
    atoms.positions += 1.0
    assert calc.atoms == before
    assert calc.get_atoms().get_potential_energy() == pytest.approx(energy_of(before, calculator()), abs=1e-12)
    calc.reset()
    assert calc.atoms is None


def test_without_atoms_nothing_is_computed() -> None:
    with pytest.raises(DataError, match="could not compute: expected atoms, found none, neither now nor before"):
        calculator().calculate()
