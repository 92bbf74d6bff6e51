"""Learners that need no classes run unchanged on potentials, stop anywhere, and replay what they should."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from frames import crystal, frame, labelled, molecule, potential, structures
from learning_driver import Player, check_stops, made
from milepost.atoms.examples import StructureSet
from milepost.atoms.objective import PotentialObjective
from milepost.atoms.options import LossOptions
from milepost.learning import Setting, Task, find_learner
from milepost.learning.data import RECALLED, taken
from milepost.learning.objective import LEVELS
from milepost.learning.registry import learners

OPTIONS: dict[str, dict[str, Any]] = {
    "finetune": {},
    "joint": {},
    "oewc": {"e_lambda": 1.0},
    "si": {},
    "lwf": {},
    "er": {"buffer_size": 3, "minibatch_size": 2},
    "agem": {"buffer_size": 4, "minibatch_size": 3},
    "gem": {"buffer_size": 4},
    "der": {"buffer_size": 3, "minibatch_size": 4},
    "derpp": {"buffer_size": 3, "minibatch_size": 2},
}


@functools.cache
def data() -> StructureSet:
    """Make two tasks of three structures: molecules of several sizes, and a crystal with stress among them."""
    stress = torch.eye(3, dtype=torch.float64).numpy() * 0.1
    systems = [labelled(molecule(seed, atoms=3 + seed % 3), seed) for seed in range(5)]
    return StructureSet(structures([frame(labelled(crystal(), 9), stress=stress), *map(frame, systems)]), 2)


def player(name: str) -> Player:
    tasks = [Task("old", torch.arange(3)), Task("new", torch.arange(3, 6))]
    objective = PotentialObjective(LossOptions(), 1.3, with_stress=True)
    setting = Setting(objective, data(), tasks, seed=1, batch_size=2, epochs=1)
    model = potential(features=2, layers=1)
    model.scale.fill_(1.0)
    return Player(made(name, setting, **OPTIONS[name]), model, learning_rate=0.01)


def test_every_learner_that_needs_no_classes_is_tried() -> None:
    able = {spec.name for spec in learners() if spec.build.load().needs != LEVELS[-1]}
    assert able == set(OPTIONS)
    assert find_learner("er-ace").build.load().needs == LEVELS[-1]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_learner_stops_anywhere(name: str) -> None:
    check_stops(lambda: player(name))


def last_batch(name: str) -> tuple[dict[str, Tensor], Player]:
    found = player(name).play()
    return found.last, found


def test_kept_outputs_are_those_of_the_model_that_was() -> None:
    _, found = last_batch("der")
    kept = found.learner.buffer.everything()
    assert {f"{RECALLED}{name}" for name in ("energies", "forces", "virials")} < set(kept)
    for forces, species in zip(kept[f"{RECALLED}forces"], kept["species"], strict=True):
        assert forces.shape == (len(species), 3)


def test_a_teacher_tells_what_it_would_predict() -> None:
    found = player("lwf")
    found.play(found.position("begin_task", 1))
    batch = data().batch(torch.tensor([3, 4]))
    drawn = found.learner.draw(batch, found.model)
    recalled = next(part for part in (taken(drawn, name.partition("/")[0]) for name in drawn if "/" in name) if part)
    outputs = found.learner.objective.outputs(found.model, batch)
    for name, value in outputs.items():
        assert torch.equal(recalled[f"{RECALLED}{name}"], value.detach())
