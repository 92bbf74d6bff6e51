"""A potential's outputs can be kept, cut into structures and compared with; its loss is what it always was."""

from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from frames import crystal, frame, labelled, molecule, potential, structures
from milepost.atoms.examples import StructureSet
from milepost.atoms.loss import Loss
from milepost.atoms.objective import PotentialObjective
from milepost.atoms.options import LossOptions
from milepost.learning import Batch, Learner, Objective, Setting, Task, find_learner

UNIT = 1.3
NAMES = ("energies", "forces", "virials")
ORDER = torch.tensor([2, 0, 1])
SIZES = [2, 4, 7]


def source() -> StructureSet:
    stress = torch.eye(3, dtype=torch.float64).numpy()
    frames = [
        frame(labelled(molecule(1, atoms=4), 1)),
        frame(labelled(molecule(2, atoms=7), 2), forces=None, energy=None),
        frame(labelled(crystal(), 3), stress=stress),
    ]
    return StructureSet(structures(frames), 3)


def padded() -> Batch:
    data = source().structures
    return data.batch(ORDER, (5, 17))


def objective(kind: Any = "mse", *, with_stress: bool = True, **weights: float) -> PotentialObjective:
    return PotentialObjective(LossOptions(type=kind, **weights), UNIT, with_stress=with_stress)


@pytest.mark.parametrize("kind", ["mse", "huber"])
@pytest.mark.parametrize("stress", [True, False])
def test_the_loss_is_the_same_bits_as_that_of_a_model_and_a_batch(kind: Any, *, stress: bool) -> None:
    model, batch = potential(), padded()
    found = objective(kind, with_stress=stress)
    total, parts = found.task_loss(model, batch)
    expected, named = Loss(LossOptions(type=kind), UNIT, with_stress=stress)(model, batch)
    assert torch.equal(total, expected)
    assert {name: value.item() for name, value in parts.items()} == {n: v.item() for n, v in named.items()}
    weights = list(model.parameters())
    gradients = [torch.autograd.grad(loss, weights, allow_unused=True) for loss in (total, expected)]
    for one, other in zip(*gradients, strict=True):
        assert one is other is None or torch.equal(one, other)


def test_it_is_an_objective_with_outputs() -> None:
    found = objective()
    assert isinstance(found, Objective)
    assert found.gives == "outputs"
    assert found.count(padded()) == 3  # of 5 places


@pytest.mark.parametrize("shape", [(3, 13), (5, 17), (8, 13)])
def test_structures_are_counted_whatever_fills_a_batch_up(shape: tuple[int, int]) -> None:
    """As a tensor: a compiled step has the same shapes for another number of structures."""
    count = objective().count(source().structures.batch(ORDER, shape))
    assert count.shape == ()
    assert count == 3


def replaying(data: StructureSet) -> Learner:
    """Return a learner that replays structures 5 to 8 of nine."""
    spec = find_learner("er")
    setting = Setting(objective(with_stress=False), data, [Task("all", torch.arange(9))], 1, 4, 1)
    learner = spec.build.load()(spec.options(name="er", buffer_size=4, minibatch_size=4), setting)
    learner.buffer.add(data.examples(torch.arange(5, 9)))
    return learner


@pytest.mark.parametrize("new", [[0, 1, 2, 3], [4], [2, 0]])
def test_replay_weighs_a_batch_that_is_filled_up_by_its_structures(new: list[int]) -> None:
    """Promised by `milepost.learning.learners.er`: the mean loss over the examples of both.

    So does a step that was traced with a full batch: one that is filled up has its shapes.
    """
    data = StructureSet(structures([frame(labelled(molecule(seed, atoms=3), seed)) for seed in range(9)]), 4)
    model, learner = potential(), replaying(data)
    full, batch = (learner.draw(data.batch(torch.tensor(numbers)), model) for numbers in ([0, 1, 2, 3], new))
    # Every structure has three atoms and all targets, so that the loss of all is the mean over them.
    whole = data.structures.batch(torch.tensor([*new, 5, 6, 7, 8]), (len(new) + 4, 3 * (len(new) + 4)))
    expected = objective(with_stress=False).task_loss(model, whole)[0]
    torch.testing.assert_close(learner.loss(model, batch).total, expected)

    def step(*values: torch.Tensor) -> torch.Tensor:
        return learner.loss(model, dict(zip(full, values, strict=True))).total.detach()

    traced = make_fx(step, tracing_mode="real", _allow_non_fake_inputs=True)(*full.values())
    torch.testing.assert_close(traced(*batch.values()), expected.detach())


@pytest.mark.parametrize("stress", [True, False])
def test_outputs_are_divided_by_structure_and_come_back_the_same(*, stress: bool) -> None:
    found, model, batch, data = objective(with_stress=stress), potential(), padded(), source()
    outputs = found.outputs(model, batch)
    kept = {name: value.detach() for name, value in found.recalled(outputs, batch).items()}
    assert set(kept) == set(NAMES if stress else NAMES[:2])
    each = found.divided(kept, batch)
    assert [tuple(part.shape) for part in each["forces"]] == [(size, 3) for size in SIZES]
    assert len(each["energies"]) == 3
    examples = {**data.examples(ORDER), **{f"recalled.{name}": value for name, value in each.items()}}
    again = data.collate(examples)
    for name, value in kept.items():
        rows = 13 if name == "forces" else 3
        assert torch.equal(again[f"recalled.{name}"][:rows], value[:rows])


def recalled(batch: Batch, model: torch.nn.Module) -> Batch:
    outputs = objective().outputs(model, batch)
    return batch | {f"recalled.{name}": value.detach() for name, value in outputs.items()}


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_a_model_is_at_no_distance_from_itself(kind: Any) -> None:
    model = potential()
    batch = recalled(padded(), model)
    found = objective(kind)
    total = found.distance(found.outputs(model, batch), batch)
    assert total.item() == pytest.approx(0.0, abs=1e-14)
    gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    assert all(g is None or g.abs().max() < 1e-12 for g in gradients)


def test_the_distance_is_the_mean_square_over_every_structure() -> None:
    model, teacher = potential(0), potential(1)
    batch = recalled(padded(), teacher)
    found = objective("mse", energy=2.0, forces=3.0, stress=5.0)
    now, then = objective().outputs(model, batch), objective().outputs(teacher, batch)
    sizes = torch.tensor(SIZES, dtype=torch.float64) * UNIT
    energy = ((now["energies"] - then["energies"])[:3] / sizes).square().mean()
    forces = ((now["forces"] - then["forces"])[:13] / UNIT).square().sum(-1).mean()
    stress = ((now["virials"] - then["virials"])[:3] / sizes[:, None, None]).square().sum((-2, -1)).mean()
    expected = 2 * energy + 3 * forces + 5 * stress
    assert found.distance(now, batch).item() == pytest.approx(expected.item(), rel=1e-12)
    assert expected.item() > 1e-6


def test_without_stress_virials_are_at_no_distance() -> None:
    model, teacher = potential(0), potential(1)
    batch = recalled(padded(), teacher)
    found = objective("mse", with_stress=False)
    outputs = found.outputs(model, batch)
    assert set(outputs) == {"energies", "forces"}
    del batch["recalled.virials"]
    assert found.distance(outputs, batch).item() > 0


def test_padding_is_at_no_distance() -> None:
    model, teacher, found = potential(0), potential(1), objective("huber")
    totals = []
    for shape in ((3, 13), (6, 30)):
        batch = recalled(source().structures.batch(ORDER, shape), teacher)
        totals.append(found.distance(found.outputs(model, batch), batch).item())
    assert totals[0] == pytest.approx(totals[1], rel=1e-12)


def test_distillation_is_the_distance_whatever_the_temperature() -> None:
    model, found = potential(0), objective()
    batch = recalled(padded(), potential(1))
    outputs = found.outputs(model, batch)
    assert torch.equal(found.distillation(outputs, batch, 2.0), found.distance(outputs, batch))
