"""The `.pt2` file: one compiled graph with the checkpoint's results for any size, and what it needs."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import ase
import ase.units
import numpy as np
import pytest
import torch
from ase.md.verlet import VelocityVerlet
from torch._inductor.exc import CppCompileError

import tiny
from milepost.atoms import Calculator, compiled
from milepost.atoms.compiled import compile_potential, load_compiled
from milepost.atoms.exporting_files import export_potential
from milepost.atoms.exporting_graph import AtomicGraph, ModelFacts
from milepost.atoms.neighbors import find_neighbors
from milepost.atoms.opening import open_potential
from milepost.atoms.potential import predict
from milepost.atoms.tables import Geometry, tabulate
from milepost.errors import ExportError
from milepost.export import read_record


@pytest.fixture(scope="module")
def file() -> Path:
    return tiny.compiled()


@pytest.mark.slow
@pytest.mark.parametrize("name", tiny.structures())
def test_results_are_the_checkpoints(file: Path, name: str) -> None:
    ours, trained = tiny.structures()[name], tiny.structures()[name]
    ours.calc, trained.calc = Calculator(file), Calculator(tiny.checkpoint(1))
    assert ours.get_potential_energy() == pytest.approx(trained.get_potential_energy(), abs=2e-6)
    assert tiny.deviation(ours.get_forces(), trained.get_forces()) < 1e-6
    assert tiny.deviation(ours.get_potential_energies(), trained.get_potential_energies()) < 1e-6
    if ours.pbc.all():
        assert tiny.deviation(ours.get_stress(), trained.get_stress()) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("atoms", [1, 2, 3, 16, 17, 40])
def test_sizes_are_free(file: Path, atoms: int) -> None:
    """Among them the sizes that the graph was traced with, where a constant would hide."""
    positions = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)[:atoms] * 1.4
    cluster = ase.Atoms("O" * atoms, positions=positions)
    cluster.rattle(0.1, seed=1)
    geometry = Geometry.of(cluster)
    found, expected = (
        open_potential(path).engine.predict([geometry, geometry])[1] for path in (file, tiny.checkpoint(1))
    )
    assert found.energy == pytest.approx(expected.energy, abs=1e-5)
    assert tiny.deviation(found.forces, expected.forces) < 1e-6
    assert tiny.deviation(found.virial, expected.virial) < 1e-5


@pytest.mark.slow
def test_energy_is_conserved_in_dynamics(file: Path) -> None:
    """Single precision rounds energies of 1 eV by 1e-7 eV; the bound leaves room for the integrator."""
    atoms = tiny.ethanol()
    atoms.calc = Calculator(file)
    spread = np.sqrt(300 * ase.units.kB * atoms.get_masses())[:, None]
    atoms.set_momenta(np.random.default_rng(0).normal(size=(9, 3)) * spread)
    dynamics = VelocityVerlet(atoms, 0.5 * ase.units.fs)
    start = atoms.get_total_energy()
    kinetic = atoms.get_kinetic_energy()
    dynamics.run(200)
    assert abs(atoms.get_total_energy() - start) < 2e-5
    assert abs(atoms.get_kinetic_energy() - kinetic) > 1e-4, "energy moved between its two forms"


@pytest.mark.slow
def test_the_file_says_what_it_is(file: Path) -> None:
    record = read_record(file)
    assert record.format == "aotinductor"
    assert record.facts["cutoff"] == tiny.CUTOFF
    assert record.metadata == tiny.METADATA
    assert record.environment["device"] == "cpu"
    assert set(record.parity) == {"energy", "atomic energies", "forces", "virial"}
    assert record.parity["energy"]["samples"] == 7
    assert "(aotinductor, H C O)" in repr(Calculator(file))


@pytest.mark.slow
def test_a_package_for_another_device_is_refused(file: Path) -> None:
    with pytest.raises(ExportError, match="expected the device 'cpu' that it was compiled for, found 'cuda'"):
        Calculator(file, device="cuda")


@pytest.mark.slow
def test_a_package_that_torch_cannot_load_is_refused(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"no library" if name.endswith(".so") else source.read(name))
    with pytest.raises(ExportError, match=r"could not run .* can't load it.*Export the checkpoint again"):
        load_compiled(path)


@pytest.mark.slow
def test_the_order_of_tables_in_memory_changes_nothing(file: Path) -> None:
    """A compiled program takes strides for granted; ours are made to fit, whatever comes."""
    geometry = Geometry.of(tiny.ethanol())
    table, _ = tabulate([geometry], ModelFacts.of(tiny.potential(1), 1), torch.device("cpu"))
    positions = torch.from_numpy(geometry.positions)
    assert not table.neighbors.is_contiguous()
    assert table.neighbors.t().is_contiguous()
    program = load_compiled(file)
    found = program(positions, table.neighbors, table.reverse, table.offsets, table.species)
    rows = (table.neighbors.contiguous(), table.reverse.contiguous())
    again = program(positions, *rows, table.offsets, table.species)
    for one, other in zip(found, again, strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_a_package_that_takes_other_tables_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "TABLES", {"milepost_tables": "by diagonal"})
    with pytest.raises(ExportError, match=r"expected a package that takes tables of pairs by column, found one by row"):
        load_compiled(file)


def test_without_a_compiler_exporting_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match=r"expected a C\+\+ compiler .*, found none\. Install one, or export a \.pt"):
        export_potential(tiny.checkpoint(1), tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object, **named: object) -> Iterator[None]:
        raise CppCompileError(["g++"], "error: no space left")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", stop)
    monkeypatch.setattr(torch.export, "export", lambda *arguments, **named: None)
    with pytest.raises(ExportError, match="the C\\+\\+ compiler stopped"):
        compile_potential(tiny.potential(1), tmp_path / "model.pt2")


def test_the_graph_computes_what_training_evaluated() -> None:
    """The function that is exported against the one that the loss calls."""
    atoms, potential = tiny.crystal(), tiny.potential(dtype=torch.float64)
    found = find_neighbors(atoms.positions, atoms.cell.array, atoms.pbc, tiny.CUTOFF)
    facts = ModelFacts.of(potential, 2)
    table, _ = tabulate([Geometry.of(atoms)], facts, torch.device("cpu"), skin=1.0)
    neighbors, reverse = torch.from_numpy(found.neighbors), torch.from_numpy(found.reverse)
    owner = torch.zeros(len(atoms), dtype=torch.long)
    vectors = torch.from_numpy(found.vectors)
    trained = predict(potential, vectors, neighbors, reverse, table.species, owner, 1, differentiable=False)
    energies, forces, virials = AtomicGraph(potential)(
        torch.from_numpy(atoms.positions), table.neighbors, table.reverse, table.offsets, table.species
    )
    references = potential.references[table.species].sum()
    assert float(energies.sum() - references) == pytest.approx(float(trained.energies), abs=1e-9)
    assert tiny.deviation(forces, trained.forces) < 1e-12
    assert tiny.deviation(virials.sum(0), trained.virials[0]) < 1e-12
