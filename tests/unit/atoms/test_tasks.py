"""Several data sets are the tasks of one run: whose structures are which, what is fitted to which, what is refused."""

import json
import re
from pathlib import Path
from typing import Any, cast

import ase
import ase.io
import numpy as np
import pytest
import torch

from frames import labelled, molecule, options, write
from milepost.atoms.cairn import ARCHITECTURE
from milepost.atoms.domain import DOMAIN
from milepost.atoms.examples import StructureSet
from milepost.atoms.splitting import split_tasks
from milepost.errors import DataError
from milepost.run import Ancestor, Prepared
from milepost.run.splits import check_split

HEAD = """
architecture:
  name: cairn
  model: {cutoff: 3.0, features: 4, layers: 2, radial_functions: 5}
  training: {batch_size: 3}
"""
TASKS = """
tasks:
- {name: first, training_set: a.xyz, validation_set: 0.2, test_set: {indices: [0, 1]}}
- {name: second, training_set: b.xyz, validation_set: 0.0, test_set: c.xyz}
"""
REFERENCES = {1: -13.0, 6: -1000.0, 8: -2000.0, 14: -7000.0}
RATIOS = {"a": "COHH", "b": "COHHH", "c": "COHHH"}
"""Compositions: those of the second task are no multiple of those of the first."""


def written(folder: Path, name: str, symbols: str, count: int = 10, scale: float = 1.0) -> None:
    """Write structures of one composition whose energies are sums of references, and forces of one size."""
    made = []
    for seed in range(count):
        atoms = molecule(seed + 100 * ord(name[0]), atoms=len(ase.Atoms(symbols)))
        atoms.numbers = ase.Atoms(symbols).numbers
        forces = scale * np.random.default_rng(seed).normal(size=(len(atoms), 3))
        made.append(labelled(atoms, seed, energy=sum(REFERENCES[n] for n in atoms.numbers), forces=forces))
    write(folder / f"{name}.xyz", made)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, symbols in RATIOS.items():
        written(tmp_path, name, symbols, 5 if name == "c" else 10, 1.0 if name == "a" else 3.0)
    return tmp_path


def prepare(folder: Path, text: str = HEAD + TASKS, *overrides: str, **keywords: Any) -> Prepared:
    torch.manual_seed(1)
    given = options(text, *overrides)
    arguments = {"ancestor": None, "facts": None, **keywords}
    return DOMAIN.prepare(given, ARCHITECTURE, folder=folder, device=torch.device("cpu"), **arguments)


def energies(data: Any) -> torch.Tensor:
    return cast(StructureSet, data).structures.energies


# What is whose


def test_the_tasks_divide_the_training_set_in_their_order(folder: Path) -> None:
    found = prepare(folder)
    assert [task.name for task in found.tasks] == ["first", "second"]
    assert [task.training.tolist() for task in found.tasks] == [list(range(6)), list(range(6, 16))]
    data = found.sets["training"]
    for task, name in zip(found.tasks, "ab", strict=True):
        assert len(re.findall(rf"/{name}\.xyz, frame", data.describe(task.training))) == len(task.training)
    assert found.stream() == found.tasks


def test_every_task_has_held_out_sets_of_its_own(folder: Path) -> None:
    found = prepare(folder)
    sizes = [{name: len(data) for name, data in task.held_out.items()} for task in found.tasks]
    assert sizes == [{"validation": 2, "test": 2}, {"validation": 0, "test": 5}]
    assert {name: len(data) for name, data in found.sets.items()} == {"training": 16, "validation": 2, "test": 7}
    assert "/c.xyz, frame" in found.tasks[1].held_out["test"].describe(torch.tensor([0]))
    for task in found.tasks:
        errors = found.evaluate(found.model, task.held_out["test"])
        assert set(found.matrix) < set(errors)


def test_a_batch_holds_structures_of_either_task(folder: Path) -> None:
    found = prepare(folder)
    batch = found.sets["training"].batch(torch.tensor([0, 15]))
    assert batch["sizes"].tolist()[:2] == [4.0, 5.0]
    assert torch.isfinite(found.objective.task_loss(found.model, batch)[0])


def test_a_single_task_fits_what_a_single_data_set_does(folder: Path) -> None:
    one = prepare(folder, HEAD + "training_set: a.xyz\nvalidation_set: 0.2\n")
    task = prepare(folder, HEAD + "tasks: [{name: only, training_set: a.xyz, validation_set: 0.2}]\n")
    assert task.facts == one.facts
    assert (len(task.tasks), one.tasks) == (1, ())
    assert {f"only/{name}": frames for name, frames in one.split["frames"].items()} == task.split["frames"]
    assert task.split["fingerprints"] == one.split["fingerprints"]


def test_the_tasks_are_told(folder: Path) -> None:
    assert prepare(folder).summary[1:] == ("tasks, with structures to train on: first (6), second (10)",)


# What is fitted


def test_scale_and_neighbors_are_those_of_the_first_task(folder: Path) -> None:
    alone = prepare(folder, HEAD + TASKS[: TASKS.index("- {name: second")]).facts
    both = prepare(folder).facts
    for name in ("force_size", "average_neighbors"):
        assert both[name] == alone[name]
    assert both["largest"] == 5
    assert alone["largest"] == 4


def test_a_later_task_fixes_only_what_the_first_leaves_open(folder: Path) -> None:
    alone = prepare(folder, HEAD + TASKS[: TASKS.index("- {name: second")])
    both = prepare(folder)
    first = np.array([2, 1, 1])
    expected = [float(first @ np.array(found.facts["references"])) for found in (alone, both)]
    assert expected[0] == pytest.approx(expected[1], rel=1e-12)
    assert both.facts["references"] != pytest.approx(alone.facts["references"])
    assert energies(both.sets["training"]).abs().max() < 1e-3


def test_energies_that_the_first_task_fixes_stay_as_they_are(folder: Path) -> None:
    text = HEAD + "tasks: [{name: first, training_set: a.xyz}, {name: second, training_set: d.xyz}]\n"
    written(folder, "d", "COHHCOHH")
    shifted = [
        labelled(a, energy=a.get_potential_energy() + 5.0, forces=a.get_forces()) for a in read(folder / "d.xyz")
    ]
    write(folder / "d.xyz", shifted)
    found = prepare(folder, text)
    data, (first, second) = found.sets["training"], found.tasks
    assert energies(data)[first.training].abs().max() < 1e-3
    torch.testing.assert_close(energies(data)[second.training], torch.full((9,), 5.0), rtol=1e-3, atol=1e-3)


def read(path: Path) -> list[ase.Atoms]:
    return ase.io.read(path, ":")


def test_elements_of_a_later_task_are_in_the_model_from_the_start(folder: Path) -> None:
    written(folder, "d", "SiHHHH")
    text = HEAD + "tasks: [{name: first, training_set: a.xyz}, {name: second, training_set: d.xyz}]\n"
    found = prepare(folder, text)
    assert found.facts["atomic_numbers"] == [1, 6, 8, 14]
    assert energies(found.sets["training"]).abs().max() < 1e-2
    assert prepare(folder, text, facts=json.loads(json.dumps(found.facts))).facts == found.facts


def test_a_fine_tuned_model_keeps_its_scale_and_what_the_tasks_leave_open(folder: Path) -> None:
    old = prepare(folder, HEAD + "training_set: a.xyz\n")
    tensors = {name: value.clone() for name, value in old.model.state_dict().items()}
    ancestor = Ancestor(tensors, dict(old.facts), "blake3:0", "old.ckpt")
    found = prepare(folder, HEAD + "tasks: [{name: new, training_set: b.xyz}]\n", ancestor=ancestor)
    assert found.facts["force_size"] == old.facts["force_size"]
    assert found.facts["average_neighbors"] == old.facts["average_neighbors"]
    assert energies(found.sets["training"]).abs().max() < 1e-3


# The record


def test_the_record_names_the_task_of_every_set(folder: Path) -> None:
    record = prepare(folder).split
    assert json.loads(json.dumps(record)) == record
    assert set(record["frames"]) == {f"{task}/{name}" for task in ("first", "second") for name in ("training", "validation", "test")}  # noqa: E501  # fmt: skip
    assert list(record["files"]) == ["first/training", "second/training", "second/test"]
    assert record["frames"]["first/test"] == [0, 1]


def test_a_file_that_changed_is_named_with_its_task(folder: Path) -> None:
    before = prepare(folder).split
    assert check_split(before, prepare(folder).split, folder) == []
    written(folder, "c", "COHHH", 5, 2.0)
    with pytest.raises(Exception, match=r"the second/test set: 'c\.xyz': expected the content"):
        check_split(before, prepare(folder).split, folder)


# Refused


def refusal(folder: Path, tasks: str) -> str:
    with pytest.raises(DataError) as caught:
        split_tasks(options(f"{HEAD}tasks: {tasks}\n"), folder)
    return str(caught.value)


def test_no_task_may_train_on_what_another_holds_out(folder: Path) -> None:
    found = refusal(
        folder,
        "[{name: one, training_set: {systems: a.xyz, indices: ':4'}, validation_set: 0},"
        " {name: two, training_set: {systems: a.xyz, indices: '4:8'}, validation_set: {indices: [3]}}]",
    )
    assert found == (
        "could not split the data: expected no task to train on what another holds out, found "
        f"{folder}/a.xyz, frame 3 in 'training' of 'one' and 'validation' of 'two'. Correct the files or the indices."
    )


def test_tasks_may_train_on_and_be_measured_on_the_same_frames(folder: Path) -> None:
    same = "training_set: {systems: a.xyz, indices: ':4'}, validation_set: {indices: [5]}"
    found = split_tasks(options(f"{HEAD}tasks: [{{name: one, {same}}}, {{name: two, {same}}}]\n"), folder)
    assert [len(split.frames["training"]) for _, split in found] == [4, 4]


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ("training_set: {systems: a.xyz, indices: [99]}", "tasks.1.training_set.indices"),
        ("training_set: a.xyz, validation_set: {indices: [99]}", "tasks.1.validation_set.indices"),
        ("training_set: a.xyz, test_set: {systems: b.xyz, indices: [99]}", "tasks.1.test_set.indices"),
        ("training_set: {systems: a.xyz, indices: ':'}, test_set: 0.5", "Set tasks.1.validation_set to 0 for none"),
    ],
)
def test_a_message_names_the_place_in_the_options(folder: Path, keys: str, place: str) -> None:
    assert place in refusal(folder, f"[{{name: one, training_set: a.xyz}}, {{name: two, {keys}}}]")


def test_fractions_of_two_tasks_are_drawn_apart(folder: Path) -> None:
    written(folder, "d", "COHH", 10)
    sets = "validation_set: 0.5"
    text = f"{HEAD}tasks: [{{name: one, training_set: a.xyz, {sets}}}, {{name: two, training_set: d.xyz, {sets}}}]\n"
    chosen = [split.record["frames"]["validation"] for _, split in split_tasks(options(text), folder)]
    assert chosen[0] != chosen[1]
