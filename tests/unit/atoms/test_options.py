"""Options in metatrain's shape are accepted, and mistakes are worded so that they can be corrected."""

from typing import Any

import pytest

from frames import options
from milepost.atoms.cairn.options import CairnModelOptions, CairnTrainingOptions
from milepost.atoms.options import (
    DerivativeOptions,
    EnergyOptions,
    HeldOutOptions,
    HeldOutSystemsOptions,
    LossOptions,
    SystemsOptions,
)
from milepost.errors import OptionsError
from milepost.options import expanded_yaml

SHORT = "architecture: {name: cairn}\ntraining_set: a.xyz\n"

FULL = """
seed: 42
device: cpu
base_precision: 64
architecture:
  name: cairn
  model:
    cutoff: 4.5
  training:
    epochs: 20
    batch_size: 8
    loss: {type: mse, forces: 10}
    finetune:
      read_from: old.ckpt
training_set:
  systems:
    read_from: ethanol.xyz
    length_unit: bohr
  targets:
    energy:
      key: total_energy
      unit: kcal/mol
      forces:
        key: F
      stress: on
validation_set:
  systems:
    read_from: [b.xyz, c/*.xyz]
  targets:
    energy: {key: E, unit: meV, forces: off}
test_set:
  indices: [1, 2, 3]
"""


def mistakes(text: str, *overrides: str) -> list[str]:
    """Read options that are wrong and return the report's lines with single spaces."""
    with pytest.raises(OptionsError) as caught:
        options(text, *overrides)
    return [" ".join(line.split()) for line in str(caught.value).splitlines()[1:-1]]


def test_the_shape_of_metatrain_is_accepted() -> None:
    found = options(FULL)
    model: Any = found.architecture.model
    training: Any = found.architecture.training
    assert (found.seed, found.device, found.base_precision) == (42, "cpu", 64)
    assert isinstance(model, CairnModelOptions)
    assert isinstance(training, CairnTrainingOptions)
    assert (model.cutoff, training.epochs, training.batch_size) == (4.5, 20, 8)
    assert training.loss == LossOptions(type="mse", forces=10.0)
    assert training.finetune.read_from == "old.ckpt"
    assert found.training_set.systems == SystemsOptions(read_from="ethanol.xyz", length_unit="bohr")
    energy = found.training_set.targets.energy
    assert energy == EnergyOptions(key="total_energy", unit="kcal/mol", forces=DerivativeOptions(key="F"), stress=True)
    assert (energy.forces_key(), energy.stress_key()) == ("F", "stress")
    assert isinstance(found.validation_set, HeldOutOptions)
    assert found.validation_set.systems == HeldOutSystemsOptions(read_from=["b.xyz", "c/*.xyz"])
    assert found.validation_set.targets is not None
    assert found.validation_set.targets.energy.forces_key() is None
    assert found.test_set == HeldOutOptions(indices=[1, 2, 3])


def test_a_file_name_stands_for_a_whole_section() -> None:
    found = options(SHORT, "validation_set=b.xyz")
    assert found.training_set.systems == SystemsOptions(read_from="a.xyz")
    assert found.validation_set == "b.xyz"
    found = options("architecture: {name: cairn}\ntraining_set: {systems: [a.xyz, b.xyz]}\n")
    assert found.training_set.systems.read_from == ["a.xyz", "b.xyz"]


def test_defaults() -> None:
    found = options(SHORT)
    energy = found.training_set.targets.energy
    assert (energy.key, energy.unit, energy.forces_key(), energy.stress_key()) == (
        "energy",
        "eV",
        "forces",
        None,
    )
    assert (found.validation_set, found.test_set, found.training_set.indices) == (0.1, 0.0, None)
    assert found.architecture.model == CairnModelOptions()


MODEL = "architecture: {name: cairn, model: {%s}}\ntraining_set: a.xyz\n"

MISTAKES = {
    MODEL % "cutof: 4": "options.yaml:1 architecture.model.cutof: unknown key; did you mean 'cutoff'?",
    MODEL % "cutoff: -1": "options.yaml:1 architecture.model.cutoff: expected a number > 0 [Å], found -1",
    SHORT + "base_precision: 16\n": "options.yaml:3 base_precision: expected 32 or 64, found 16",
    "architecture: {name: cairn}\n": "training_set: missing; expected ",
    SHORT + "validation_set: 1.5\n": (
        "options.yaml:3 validation_set: expected a fraction from 0 to below 1, found 1.5"
    ),
    SHORT + "test_set: -0.1\n": "options.yaml:3 test_set: expected a fraction from 0 to below 1, found -0.1",
    SHORT + "validation_set: 0.5\ntest_set: 0.5\n": ("expected frames left to train on, found 1 of them held out"),
    SHORT + "test_set: {targets: {}}\n": (
        "expected 'systems' or 'indices', found neither; name a file or list the frames"
    ),
}
MISTAKES |= {
    f"architecture: {{name: cairn}}\ntraining_set: a.xyz\n{key}: {{indices: {setting}}}\n": (
        f"options.yaml:3 {key}.indices: {message}"
    )
    for key in ("validation_set", "test_set")
    for setting, message in {
        "'0-5'": "expected a list of numbers or 'start:stop:step', found '0-5'",
        "7": "expected a list of integers, a text or null, found 7",
        "'1:2:3:4'": "expected a list of numbers or 'start:stop:step', found '1:2:3:4'",
        "'a:'": "expected a list of numbers or 'start:stop:step', found 'a:'",
        "'0:6:0'": "expected a step other than 0, found '0:6:0'",
        "[]": "expected at least 1 number, found []; leave the key out for all frames",
        "[3, -1]": "expected numbers from 0, found [-1]; the slice '-5:' counts from the end",
        "[2, 1, 2]": "expected every number once, found [2] more often",
    }.items()
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_worded(text: str) -> None:
    found = mistakes(text)
    assert len(found) == 1, found
    assert MISTAKES[text] in found[0]


HEAD = "architecture: {name: cairn}\n"
TWO = HEAD + "tasks: [{name: a, training_set: a.xyz}, {name: %s, training_set: %s}]\n"


def test_tasks_have_the_sets_of_a_run() -> None:
    found = options(TWO % ("b", "{systems: b.xyz, targets: {energy: {key: E}}}, validation_set: 0.3, test_set: c.xyz"))
    first, second = found.sequence()
    assert found.tasks == [first, second]
    assert (found.training_set, found.validation_set, found.test_set) == (None, 0.1, 0.0)
    assert (first.name, first.training_set.systems.read_from) == ("a", "a.xyz")
    assert (first.validation_set, first.test_set) == (0.1, 0.0)
    assert (second.validation_set, second.test_set) == (0.3, "c.xyz")
    assert second.training_set.targets.energy.key == "E"


def test_a_single_data_set_is_a_task_without_a_name() -> None:
    found = options(SHORT, "validation_set=0.2", "test_set=b.xyz")
    (task,) = found.sequence()
    assert (task.name, task.training_set, task.validation_set, task.test_set) == (
        "",
        found.training_set,
        0.2,
        "b.xyz",
    )
    assert found.tasks is None


def test_expanded_tasks_are_read_back() -> None:
    for text in (SHORT, TWO % ("b", "b.xyz")):
        found = options(text)
        assert options(expanded_yaml(found)) == found


WRONG_TASKS = {
    HEAD: "options.yaml training_set: missing; expected a section, the name of a file, or 'tasks' instead",
    HEAD + "tasks: []\n": (
        "options.yaml:2 tasks: expected at least 1 task, found []; leave the key out for a single data set"
    ),
    HEAD + "tasks: {benchmark: md}\n": "options.yaml:2 tasks: expected a list of sections",
    TWO % ("a", "b.xyz"): "options.yaml:2 tasks: expected every name once, found 'a' more often",
    TWO % ("b", "b.xyz") + "training_set: c.xyz\n": (
        "options.yaml:3 training_set: expected no such key beside 'tasks', found one; move it into a task"
    ),
    TWO % ("b", "b.xyz") + "validation_set: 0.2\n": (
        "options.yaml:3 validation_set: expected no such key beside 'tasks', found 0.2; move it into each task"
    ),
    TWO % ("b", "{systems: b.xyz, targets: {energy: {unit: meV, stress: on}}}"): (
        "options.yaml:2 tasks: expected every task to learn what 'a' does (energy in eV, forces), found 'b' "
        "(energy in meV, forces, stress); give them the same targets"
    ),
    TWO % ("b", "b.xyz, validation_set: 1.5"): (
        "options.yaml:2 tasks.1.validation_set: expected a fraction from 0 to below 1, found 1.5"
    ),
    TWO % ("b", "b.xyz, validation_set: 0.5, test_set: 0.5"): (
        "options.yaml:2 tasks.1: expected frames left to train on, found 1 of them held out"
    ),
    TWO % ("b", "{systems: b.xyz, indices: [1, 1]}"): (
        "options.yaml:2 tasks.1.training_set.indices: expected every number once, found [1] more often"
    ),
    HEAD + "tasks: [{training_set: a.xyz}]\n": "options.yaml:2 tasks.0.name: missing; expected a text",
}


@pytest.mark.parametrize("text", WRONG_TASKS)
def test_a_mistake_in_tasks_is_worded(text: str) -> None:
    found = mistakes(text)
    assert len(found) == 1, found
    assert WRONG_TASKS[text] in found[0]


def test_a_slice_of_the_training_set_is_checked_where_it_stands() -> None:
    (found,) = mistakes("architecture: {name: cairn}\ntraining_set:\n  systems: a.xyz\n  indices: 5\n")
    assert found.startswith("options.yaml:4 training_set.indices: expected a list of integers")
    (found,) = mistakes("architecture: {name: cairn}\ntraining_set:\n  systems: a.xyz\n  indices: all\n")
    assert found == "options.yaml:4 training_set.indices: expected a list of numbers or 'start:stop:step', found 'all'"


def test_a_unit_in_wrong_letters_is_corrected() -> None:
    text = "architecture: {name: cairn}\ntraining_set: {systems: a.xyz, targets: {energy: {unit: ev}}}\n"
    (found,) = mistakes(text)
    assert "did you mean 'eV'?" in found


def test_all_mistakes_are_reported_at_once() -> None:
    text = FULL.replace("seed: 42", "sead: 42").replace("bohr", "boor").replace("epochs: 20", "epochs: many")
    found = mistakes(text, "architecture.training.loss.delta=0")
    assert len(found) == 4
    for part in (
        "did you mean 'seed'?",
        "did you mean 'bohr'?",
        "training.epochs: ",
        "training.loss.delta: ",
    ):
        assert sum(part in line for line in found) == 1, part
