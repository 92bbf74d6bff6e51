"""Data fix a few numbers of a model, which rebuild it with the options; fine-tuning takes its weights."""

import json
import re
from pathlib import Path
from typing import Any, cast

import ase
import numpy as np
import pytest
import torch

from frames import crystal, frame, labelled, molecule, options, write
from milepost.atoms.cairn import ARCHITECTURE
from milepost.atoms.dataset import Structures
from milepost.atoms.domain import DOMAIN
from milepost.atoms.examples import StructureSet
from milepost.atoms.options import AtomsOptions
from milepost.atoms.potential import Potential
from milepost.errors import DataError
from milepost.run import Ancestor, Prepared

TEXT = """
architecture:
  name: cairn
  model: {cutoff: 3.0, features: 4, layers: 2, radial_functions: 5}
  training: {batch_size: 3}
training_set: {systems: a.xyz}
validation_set: 0.2
"""
REFERENCES = {1: -13.0, 6: -1000.0, 8: -2000.0, 14: -7000.0}


def molecules(count: int = 10, **results: Any) -> list[ase.Atoms]:
    """Make molecules whose energies are sums of references."""
    made = [molecule(seed, atoms=4 + seed % 4) for seed in range(count)]
    return [labelled(a, i, energy=sum(REFERENCES[n] for n in a.numbers), **results) for i, a in enumerate(made)]


def prepare(
    folder: Path, given: AtomsOptions, ancestor: Ancestor | None = None, facts: dict[str, Any] | None = None
) -> Prepared:
    torch.manual_seed(1)
    device = torch.device("cpu")
    return DOMAIN.prepare(given, ARCHITECTURE, folder=folder, device=device, ancestor=ancestor, facts=facts)


def ancestor_of(prepared: Prepared) -> Ancestor:
    """Make what fine-tuning is given of a trained model."""
    tensors = {name: value.clone() for name, value in prepared.model.state_dict().items()}
    return Ancestor(tensors, dict(prepared.facts), "blake3:0", "old.ckpt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "a.xyz", molecules())
    return tmp_path


@pytest.fixture
def prepared(folder: Path) -> Prepared:
    return prepare(folder, options(TEXT))


# What the data fix


def test_references_are_fitted(prepared: Prepared) -> None:
    assert prepared.facts["atomic_numbers"] == [1, 6, 8]
    assert prepared.facts["references"] == pytest.approx([REFERENCES[n] for n in (1, 6, 8)], rel=1e-10)
    model = cast(Potential, prepared.model)
    assert model.references.tolist() == prepared.facts["references"]
    for data in prepared.sets.values():
        energies = cast(StructureSet, data).structures.energies
        assert energies.abs().max() < 1e-6 if len(energies) else True


def test_force_size_and_neighbors_are_those_of_the_training_set(prepared: Prepared) -> None:
    frames = cast(StructureSet, prepared.sets["training"]).structures.frames
    assert len(frames) == 8
    forces = np.concatenate([f.forces for f in frames if f.forces is not None])
    assert prepared.facts["force_size"] == pytest.approx(float(np.sqrt((forces**2).mean())), rel=1e-12)
    distances = [np.linalg.norm(f.positions[:, None] - f.positions[None], axis=-1) for f in frames]
    degree = [(d < 3.0).sum(1) - 1 for d in distances]
    assert prepared.facts["average_neighbors"] == pytest.approx(np.concatenate(degree).mean(), rel=1e-12)
    assert prepared.facts["cutoff"] == 3.0
    assert prepared.facts["largest"] == max(len(f.numbers) for f in frames)
    assert float(cast(Potential, prepared.model).scale) == pytest.approx(prepared.facts["force_size"], rel=1e-6)


def test_without_forces_the_scale_is_the_spread_of_the_energies(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for atoms in (shifted := molecules(40)):
        labelled(atoms, energy=atoms.calc.results["energy"] + rng.normal(scale=0.3))
    write(folder / "a.xyz", shifted)
    found = prepare(folder, options(TEXT, "training_set.targets.energy.forces=false"))
    assert 0.2 < found.facts["force_size"] < 0.4


def test_a_lone_atom_has_a_scale_and_neighbors_too(folder: Path) -> None:
    write(folder / "a.xyz", [labelled(ase.Atoms("O"), energy=-5.0, forces=np.zeros((1, 3)))] * 2)
    facts = prepare(folder, options(TEXT)).facts
    assert (facts["force_size"], facts["average_neighbors"], facts["references"]) == (
        1.0,
        1.0,
        [pytest.approx(-5.0)],
    )


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training_set.targets.energy.forces=false",),
        ("training_set.targets.energy.stress=true",),
        ("validation_set={systems: b.xyz, targets: {energy: {forces: false, stress: true}}}",),
        ("training_set.targets.energy.stress=true", "validation_set={systems: b.xyz, targets: {energy: {}}}"),
    ],
    ids=["energy and forces", "energy", "stress", "stress of validation", "stress of training"],
)
def test_the_names_of_the_metrics_are_known_without_data(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    write(tmp_path / "a.xyz", [labelled(crystal(i), i) for i in range(10)])
    write(tmp_path / "b.xyz", [labelled(crystal(i), i) for i in range(10, 13)])
    given = options(TEXT, *overrides)
    found = prepare(tmp_path, given)
    _, parts = found.objective.task_loss(found.model, found.sets["training"].batch(torch.tensor([0, 1])))
    errors = found.evaluate(found.model, found.sets["validation"])
    measured = [f"training/{name}" for name in ("loss", *parts)] + [f"validation/{name}" for name in errors]
    assert DOMAIN.metric_names(given) == measured


def test_facts_are_plain_and_are_taken_as_they_are_when_a_run_goes_on(folder: Path, prepared: Prepared) -> None:
    facts = json.loads(json.dumps(prepared.facts))
    assert facts == prepared.facts
    facts["references"][0] += 1.0
    again = prepare(folder, options(TEXT), facts=facts)
    assert again.facts == facts
    assert again.split == prepared.split


def test_a_prepared_run_has_what_the_loop_needs(prepared: Prepared) -> None:
    assert {name: len(data) for name, data in prepared.sets.items()} == {
        "training": 8,
        "validation": 2,
        "test": 0,
    }
    parameters = sum(p.numel() for p in prepared.model.parameters())
    assert prepared.summary == (f"data: 8 training, 2 validation · elements H C O · {parameters:,} parameters",)
    assert set(prepared.split) == {"frames", "files", "fingerprints"}
    data = prepared.sets["training"]
    batch = data.batch(torch.tensor([4, 1]))
    assert torch.isfinite(prepared.objective.task_loss(prepared.model, batch)[0])
    assert prepared.tasks == ()
    assert prepared.matrix == {"energy_rmse": "min", "forces_rmse": "min"}
    assert set(prepared.evaluate(prepared.model, prepared.sets["validation"])) == {
        "loss", "energy_rmse", "energy_mae", "forces_rmse", "forces_mae",
    }  # fmt: skip
    first, second = data.describe(torch.tensor([4, 1])).split("; ")
    assert re.fullmatch(r".*/a\.xyz, frame \d", first)
    assert first != second


@pytest.mark.parametrize(("precision", "dtype"), [(32, torch.float32), (64, torch.float64)])
def test_precision_is_that_of_weights_and_data(folder: Path, precision: int, dtype: torch.dtype) -> None:
    found = prepare(folder, options(TEXT, f"base_precision={precision}"))
    assert {p.dtype for p in found.model.parameters()} == {dtype}
    assert found.sets["training"].batch(torch.tensor([0]))["vectors"].dtype == dtype
    assert cast(Potential, found.model).references.dtype == torch.float64


# Rebuilding


@pytest.mark.parametrize("precision", [32, 64])
def test_a_model_is_rebuilt_without_data_and_predicts_the_same(folder: Path, precision: int) -> None:
    given = options(TEXT, f"base_precision={precision}")
    prepared = prepare(folder, given)
    facts = json.loads(json.dumps(prepared.facts))
    rebuilt = DOMAIN.rebuild(given, ARCHITECTURE, facts)
    assert rebuilt.state_dict().keys() == prepared.model.state_dict().keys()
    rebuilt.load_state_dict(prepared.model.state_dict())
    batch = prepared.sets["training"].batch(torch.arange(3))
    arguments = [batch[name] for name in ("vectors", "neighbors", "reverse", "species")]
    assert torch.equal(rebuilt(*arguments), prepared.model(*arguments))
    assert torch.equal(rebuilt.references, cast(Potential, prepared.model).references)


def test_a_double_precision_model_has_no_constant_of_single_precision(folder: Path) -> None:
    model = prepare(folder, options(TEXT, "base_precision=64")).model
    constants = {name: value for name, value in model.named_buffers() if name.startswith("network.")}
    assert constants
    rounded = {name for name, value in constants.items() if torch.equal(value, value.float().double())}
    assert {name for name in rounded if not torch.equal(constants[name], constants[name].round())} == set()


# Species


def test_a_held_out_species_that_is_not_trained_on_is_refused(folder: Path) -> None:
    write(folder / "b.xyz", [*molecules(1), labelled(ase.Atoms("SiH", positions=[[0, 0, 0], [0, 0, 1.5]]))])
    with pytest.raises(DataError) as caught:
        prepare(folder, options(TEXT, "validation_set=b.xyz"))
    assert str(caught.value) == (
        f"{folder}/b.xyz, frame 1, field 'species': expected only H C O, found Si. "
        "Remove the frame or train a model with these elements."
    )


# Fine-tuning


def silane(folder: Path) -> None:
    """Write a data set that has silicon and no oxygen."""
    made = []
    for seed in range(6):
        atoms = molecule(seed, atoms=4)
        atoms.numbers = [14, 1, 1, 6] if seed % 2 else [14, 1, 6, 6]
        made.append(labelled(atoms, seed, energy=sum(REFERENCES[n] + 10.0 for n in atoms.numbers)))
    write(folder / "a.xyz", made)


def test_a_new_species_is_refused_in_fine_tuning(folder: Path, prepared: Prepared) -> None:
    silane(folder)
    with pytest.raises(DataError) as caught:
        prepare(folder, options(TEXT), ancestor_of(prepared))
    message = re.sub(r"frame \d", "frame N", str(caught.value))
    assert message == (
        f"could not fine-tune 'old.ckpt' on these data: {folder}/a.xyz, frame N, field 'species': "
        "expected only H C O, found Si. "
        "Set architecture.training.finetune.new_species: true to add them to the model."
    )


def test_a_new_species_is_added_when_asked_for(folder: Path, prepared: Prepared) -> None:
    old = ancestor_of(prepared)
    silane(folder)
    found = prepare(folder, options(TEXT, "architecture.training.finetune.new_species=true"), old)
    assert found.facts["atomic_numbers"] == [1, 6, 8, 14]
    new = found.model.state_dict()
    assert torch.equal(new["network.embedding"][:3], old.tensors["network.embedding"])
    assert new["network.embedding"][3].abs().sum() > 0
    for name, value in old.tensors.items():
        if name.startswith("network.") and name != "network.embedding":
            assert torch.equal(new[name], value), name


def test_fine_tuning_keeps_the_meaning_of_the_weights(folder: Path, prepared: Prepared) -> None:
    old = ancestor_of(prepared)
    for atoms in (stronger := molecules(6)):
        labelled(atoms, energy=atoms.calc.results["energy"], forces=9 * atoms.calc.results["forces"])
    write(folder / "a.xyz", stronger)
    found = prepare(folder, options(TEXT), old)
    assert found.facts["force_size"] == old.facts["force_size"]
    assert found.facts["average_neighbors"] == old.facts["average_neighbors"]
    for name, value in old.tensors.items():
        assert name == "references" or torch.equal(found.model.state_dict()[name], value), name


def test_species_that_are_absent_from_new_data_keep_their_references(folder: Path, prepared: Prepared) -> None:
    silane(folder)
    found = prepare(folder, options(TEXT, "architecture.training.finetune.new_species=true"), ancestor_of(prepared))
    assert found.facts["references"][2] == pytest.approx(REFERENCES[8], rel=1e-12)
    data = cast(StructureSet, found.sets["training"]).structures
    assert data.energies.abs().max() < 1e-3


@pytest.mark.parametrize(
    ("override", "mismatches"),
    [
        ("features=6", ["embedding: expected (3, 6), found (3, 4)"]),
        ("layers=3", ["expected (", "found nothing"]),
        ("layers=1", [": expected nothing, found ("]),
        ("radial_functions=7", ["found ("]),
        ("cutoff=4.0", ["  cutoff: expected 4.0 Å, found 3.0 Å\n"]),
    ],
)
def test_an_ancestor_of_other_sizes_is_refused(
    folder: Path, prepared: Prepared, override: str, mismatches: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        prepare(folder, options(TEXT, f"architecture.model.{override}"), ancestor_of(prepared))
    message = str(caught.value)
    assert message.startswith("could not fine-tune 'old.ckpt': its weights don't fit these options:\n  ")
    assert message.endswith("\nGive architecture.model the values of the ancestor; `milepost show` prints them.")
    assert all(part in message for part in mismatches)
    assert ("cutoff: expected" in message) == override.startswith("cutoff")


def test_an_empty_set_has_no_batches() -> None:
    assert len(StructureSet(Structures([], 3.0, [1]), 3)) == 0


def test_a_set_cuts_batches_of_its_shapes() -> None:
    frames = [frame(a) for a in molecules(6)]
    data = Structures(frames, 3.0, [1, 6, 8])
    made = StructureSet(data, 4)
    found = {len(made.batch(torch.tensor(chosen))["species"]) for chosen in ([0], [5, 1], [1, 2, 3, 0])}
    assert found <= {atoms for _, atoms in data.shapes(4)}


def test_a_batch_that_no_shape_holds_is_refused() -> None:
    made = StructureSet(Structures([frame(a) for a in molecules(6)], 3.0, [1, 6, 8]), 2)
    expected = r"within one of \[.*\], found \(3, \d+\)\. Give `shapes` the size of the largest batch"
    with pytest.raises(ValueError, match=expected):
        made.batch(torch.arange(3))
