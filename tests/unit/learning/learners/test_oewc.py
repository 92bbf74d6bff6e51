"""Online EWC measures importances after each task and pulls weights back to where they were."""

import pytest
import torch

from learning_driver import Player, check_stops, made
from learning_sets import classification, regression
from milepost.learning.weights import flattened, trainable


def player(problem=classification, **options):
    setting, model = problem()
    return Player(made("oewc", setting, **options), model)


def fisher_by_hand(model, setting, indices):
    total = 0
    for index in indices:
        loss, _ = setting.objective.task_loss(model, setting.examples.batch(index[None]))
        gradient = flattened(torch.autograd.grad(loss, trainable(model)))
        total = total + torch.exp(-loss.detach()) * gradient.square()
    return total / len(indices)


@pytest.mark.parametrize("problem", [classification, regression])
def test_importances_fade_and_add_up_and_the_anchor_follows(problem):
    play = player(problem, e_lambda=3.0, gamma=0.5)
    wanted = 0
    for task, each in enumerate(play.learner.setting.tasks[:2]):
        play.play(play.position("end_task", task) + 1)
        wanted = 0.5 * wanted + fisher_by_hand(play.model, play.learner.setting, each.training)
        torch.testing.assert_close(play.learner.anchor.importances, wanted)
        assert torch.equal(play.learner.anchor.weights, flattened(trainable(play.model)))


def test_gradients_are_those_of_the_loss_with_the_penalty():
    play = player(e_lambda=3.0)
    play.play(play.position("begin_task", 1) + 3)
    learner, model = play.learner, play.model
    batch = learner.setting.examples.batch(learner.setting.tasks[1].training[:4])
    plain = play._gradients_of(batch)
    found = learner.corrected(plain, model, play._gradients_of)
    moved = torch.cat([weight.flatten() for weight in trainable(model)]) - learner.anchor.weights
    assert moved.any()
    loss = learner.loss(model, batch).total + 3.0 * (learner.anchor.importances * moved.square()).sum()
    for given, wanted in zip(found, torch.autograd.grad(loss, trainable(model)), strict=True):
        torch.testing.assert_close(given, wanted)


def test_a_stronger_penalty_keeps_weights_closer_to_where_they_were():
    moved = []
    for e_lambda in (0.0, 1.0, 10.0):
        play = player(e_lambda=e_lambda)
        play.play(play.position("begin_task", 1))
        before, importances = play.learner.anchor.weights, play.learner.anchor.importances
        play.play(play.position("end_task", 1))
        moved.append(float((importances * (flattened(trainable(play.model)) - before).square()).sum()))
    assert moved[0] > moved[1] > moved[2] > 0


def test_a_task_is_shown_once_more_and_no_weight_moves():
    play = player()
    train, show = play.learner.stretches(0)
    assert (train.trains, show.trains, show.epochs, show.source) == (True, False, 1, "task")
    play.play(play.position("begin_stretch", 1))
    before = flattened(trainable(play.model))
    play.play(play.position("begin_task", 1))
    assert torch.equal(before, flattened(trainable(play.model)))


def test_a_task_that_was_left_in_the_middle_of_its_look_does_not_count():
    play = player(gamma=0.0)
    play.play(play.position("end_task", 1) - 1)
    play.again(0)
    wanted = fisher_by_hand(play.model, play.learner.setting, play.learner.setting.tasks[0].training)
    torch.testing.assert_close(play.learner.anchor.importances, wanted)


@pytest.mark.parametrize("problem", [classification, regression])
def test_it_goes_on_from_any_place(problem):
    check_stops(lambda: player(problem, gamma=0.9))
