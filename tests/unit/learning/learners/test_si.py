"""Synaptic intelligence sums what each weight's path did for the task's loss."""

import pytest
import torch

from learning_driver import Player, check_stops, made
from learning_sets import classification, regression
from milepost.learning.learner import Stretch, Taken
from milepost.learning.weights import flattened, trainable


def player(problem=classification, **options):
    setting, model = problem()
    return Player(made("si", setting, **options), model)


def followed(play, until):
    """Play on, and sum -g Δθ of the task's loss by hand."""
    path = 0
    while play.at < until:
        event = play.events[play.at]
        before, gradient = flattened(trainable(play.model)), None
        if event.kind == "step":
            gradient = flattened(play._gradients_of(play.learner.setting.examples.batch(event.indices, event.epoch)))
        play.play(play.at + 1)
        if gradient is not None:
            path = path - gradient * (flattened(trainable(play.model)) - before)
    return path


@pytest.mark.parametrize("problem", [classification, regression])
def test_importances_are_paths_over_distances_as_in_equations_3_and_5(problem):
    play = player(problem, c=0.5, xi=0.2)
    wanted, anchor = 0, flattened(trainable(play.model))
    for task in range(2):
        path = followed(play, play.position("end_task", task) + 1)
        weights = flattened(trainable(play.model))
        wanted = (wanted + path / ((weights - anchor).square() + 0.2)).clamp(min=0)
        torch.testing.assert_close(play.learner.anchor.importances, wanted)
        anchor = weights
        assert torch.equal(play.learner.anchor.weights, anchor)
    assert bool((wanted > 0).all())


def test_a_path_that_led_up_leaves_no_negative_importance():
    play = player()
    play.play(play.position("end_task", 0))
    state = play.learner.state_dict()
    play.learner.load_state_dict({**state, "path": -state["path"]})
    play.learner.end_task(0, play.model)
    assert not play.learner.anchor.importances.any()


def test_gradients_are_those_of_equation_4():
    play = player(c=0.7)
    play.play(play.position("begin_task", 1) + 3)
    learner, model = play.learner, play.model
    batch = learner.setting.examples.batch(learner.setting.tasks[1].training[:4])
    found = learner.corrected(play._gradients_of(batch), model, play._gradients_of)
    moved = torch.cat([weight.flatten() for weight in trainable(model)]) - learner.anchor.weights
    assert moved.any()
    loss = learner.loss(model, batch).total + 0.7 * (learner.anchor.importances * moved.square()).sum()
    for given, wanted in zip(found, torch.autograd.grad(loss, trainable(model)), strict=True):
        torch.testing.assert_close(given, wanted)


def test_a_step_of_several_batches_counts_once_and_one_that_overflowed_not_at_all():
    play = player()
    play.play(play.position("step", 0))
    learner, model = play.learner, play.model
    taken = Taken(0, Stretch(), torch.arange(4), learner.setting.examples.batch(torch.arange(4)), {})
    gradients = [torch.ones_like(weight) for weight in trainable(model)]
    learner.corrected(gradients, model, play._gradients_of)
    with torch.no_grad():
        for weight in trainable(model):
            weight -= 0.5
    for _ in range(3):
        learner.stepped(taken, model)
    path = learner.state_dict()["path"].clone()
    torch.testing.assert_close(path, torch.full_like(path, 0.5))
    learner.corrected([gradient * torch.inf for gradient in gradients], model, play._gradients_of)
    learner.stepped(taken, model)
    assert torch.equal(learner.state_dict()["path"], path)


@pytest.mark.parametrize("problem", [classification, regression])
def test_it_goes_on_from_any_place(problem):
    check_stops(lambda: player(problem))
