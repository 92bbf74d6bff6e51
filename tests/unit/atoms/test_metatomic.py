"""The `.pt` file: a metatomic model that engines load, with the checkpoint's energies, forces and stress."""

from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from metatensor.torch import Labels
from metatomic.torch import (
    ModelEvaluationOptions,
    ModelOutput,
    System,
    load_atomistic_model,
    read_model_metadata,
)
from metatomic_ase import MetatomicCalculator
from vesin.metatomic import NeighborList

import tiny
from milepost.atoms import Calculator
from milepost.atoms.exporting_files import MetatomicExporter, export_potential
from milepost.atoms.exporting_samples import SPACING, parity_samples
from milepost.errors import ParityError
from milepost.export import read_record


@pytest.fixture(scope="module")
def file() -> Path:
    return tiny.scripted()


@pytest.mark.parametrize("name", tiny.structures())
def test_metatomics_own_calculator_gives_the_checkpoints_results(file: Path, name: str) -> None:
    ours, theirs = tiny.structures()[name], tiny.structures()[name]
    ours.calc = Calculator(tiny.checkpoint())
    theirs.calc = MetatomicCalculator(file, device="cpu", check_consistency=True)
    assert theirs.get_potential_energy() == pytest.approx(ours.get_potential_energy(), abs=2e-6)
    assert tiny.deviation(theirs.get_forces(), ours.get_forces()) < 1e-6
    if ours.pbc.all():
        assert tiny.deviation(theirs.get_stress(), ours.get_stress()) < 1e-7
        assert np.abs(ours.get_stress()).max() > 1e-5


def test_the_file_says_what_it_can_do(file: Path) -> None:
    model = load_atomistic_model(str(file))
    can = model.capabilities()
    assert can.atomic_types == tiny.SPECIES
    assert can.interaction_range == 2 * tiny.CUTOFF
    assert (can.length_unit, can.dtype, can.supported_devices) == ("angstrom", "float64", ["cuda", "cpu"])
    assert list(can.outputs) == ["energy"]
    assert (can.outputs["energy"].unit, can.outputs["energy"].sample_kind) == ("eV", "atom")
    (request,) = model.requested_neighbor_lists()
    assert (request.cutoff, request.full_list, request.strict) == (tiny.CUTOFF, True, False)


def test_the_file_says_who_made_it_and_from_what(file: Path) -> None:
    metadata = read_model_metadata(str(file))
    assert metadata.name == "tiny"
    assert metadata.authors == ["A. Author"]
    assert metadata.references["model"] == ["doi:10.1/model"]
    assert metadata.extra["note"] == '{"kept": true}'
    record = read_record(file)
    assert metadata.extra["milepost.source"] == record.source
    assert record.source.startswith("blake3:")
    assert record.run_id == metadata.extra["milepost.run"] == tiny.RUN
    assert record.facts["units"]["energy"] == "eV"
    assert record.environment["torch"] == torch.__version__
    assert record.parity["forces"]["found"] <= record.parity["forces"]["allowed"]


def systems(file: Path, structures: list[ase.Atoms]) -> list[System]:
    (request,) = load_atomistic_model(str(file)).requested_neighbor_lists()
    made = []
    for atoms in structures:
        system = System(
            torch.tensor(atoms.numbers, dtype=torch.int32),
            torch.tensor(atoms.positions),
            torch.tensor(atoms.cell.array),
            torch.tensor(atoms.pbc),
        )
        system.add_neighbor_list(request, NeighborList(request, "angstrom", skin=1.5).compute(system))
        made.append(system)
    return made


def energies(file: Path, kind: str, selected: "Labels | None" = None) -> torch.Tensor:
    """Return samples and energies side by side, for two structures."""
    options = ModelEvaluationOptions(
        length_unit="angstrom",
        outputs={"energy": ModelOutput(unit="eV", sample_kind=kind)},
        selected_atoms=selected,
    )
    model = load_atomistic_model(str(file))
    block = model(systems(file, [tiny.crystal(), tiny.ethanol()]), options, check_consistency=True)["energy"].block()
    return torch.cat([block.samples.values.double(), block.values], 1)


def test_energies_per_atom_sum_to_the_energy(file: Path) -> None:
    per_atom, total = energies(file, "atom"), energies(file, "system")
    assert per_atom[:, :2].tolist() == [[0, 0], [0, 1], *([1, i] for i in range(9))]
    assert total[:, 0].tolist() == [0, 1]
    for i, energy in total.tolist():
        assert float(per_atom[per_atom[:, 0] == i, 2].sum()) == pytest.approx(energy, abs=1e-9)


def test_only_selected_atoms_are_given_and_all_are_seen(file: Path) -> None:
    chosen = torch.tensor([[1, 8], [0, 1], [1, 2]], dtype=torch.int32)
    per_atom = energies(file, "atom")
    picked = energies(file, "atom", Labels(["system", "atom"], chosen))
    for system, atom, energy in picked.tolist():
        row = per_atom[(per_atom[:, 0] == system) & (per_atom[:, 1] == atom)]
        assert float(row[0, 2]) == pytest.approx(energy, abs=1e-9)
    assert len(picked) == 3
    total = energies(file, "system", Labels(["system", "atom"], chosen))
    expected = picked[picked[:, 0] == 1][:, 2].sum()
    assert float(total[1, 1]) == pytest.approx(float(expected), abs=1e-9)


def test_pairs_beyond_the_cutoff_change_nothing(file: Path) -> None:
    """The list that `systems` brings reaches 1.5 Å too far; ASE's has another skin."""
    atoms = tiny.ethanol()
    atoms.calc = Calculator(tiny.checkpoint())
    assert float(energies(file, "system")[1, 1]) == pytest.approx(atoms.get_potential_energy(), abs=2e-6)


def test_our_engine_refuses_overlapping_atoms(file: Path) -> None:
    atoms = ase.Atoms("HH", positions=[[0, 0, 0], [0, 0, 0.01]], calculator=Calculator(file))
    with pytest.raises(ValueError, match=r"field 'positions': expected atoms at least 0.3 Å apart.*0\.0100 Å"):
        atoms.get_potential_energy()


def test_a_file_that_computes_something_else_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = MetatomicExporter.write

    def wrong(self: MetatomicExporter, path: Path, record: object) -> None:
        self.potential.scale.mul_(1.1)
        write(self, path, record)  # type: ignore[arg-type]
        self.potential.scale.div_(1.1)

    monkeypatch.setattr(MetatomicExporter, "write", wrong)
    with pytest.raises(ParityError) as caught:
        export_potential(tiny.checkpoint(), tmp_path / "model.pt")
    for quantity, unit in (("energy", "eV"), ("atomic energies", "eV"), ("forces", "eV/Å"), ("virial", "eV")):
        assert f"\n  {quantity}: expected within " in str(caught.value)
        assert f" {unit} (21 atoms)" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_compared_on_structures_of_many_sizes() -> None:
    samples = dict(parity_samples([1, 8], largest=9))
    sizes = {len(s.numbers) for batch in samples.values() for s in batch}
    assert sizes == {1, 2, 7, 21}
    assert len(samples["one atom alone"][0].numbers) == 1
    assert any(len(batch) > 1 for batch in samples.values())
    periodic = [s for batch in samples.values() for s in batch if s.periodic.any()]
    assert {tuple(s.periodic) for s in periodic} == {(True, True, True), (True, True, False)}
    for structure in (s for batch in samples.values() for s in batch):
        assert set(structure.numbers) <= {1, 8}
        atoms = ase.Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.periodic)
        distances = atoms.get_all_distances(mic=True)
        assert distances[np.triu_indices(len(atoms), 1)].min(initial=np.inf) > SPACING - 1e-9
