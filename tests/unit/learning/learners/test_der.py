"""Dark experience replay holds the outputs that the model once had: equation 5."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from learning_driver import Player, check_stops, made, same
from learning_sets import CLASSES, PIXELS, classification, regression
from milepost.learning.data import own, taken


def played(steps, problem=classification, **options):
    """Take some steps with a buffer of 12 examples."""
    setting, model = problem()
    player = Player(made("der", setting, **{"buffer_size": 12, "alpha": 0.3, **options}), model, 0.02)
    return player.play(player.position("step", steps))


def drawn(player):
    """Draw for a batch of the first examples."""
    batch = player.learner.setting.examples.batch(torch.arange(4))
    return player.learner.draw(batch, player.model)


def test_the_loss_adds_the_distance_to_kept_logits():
    player = played(3, minibatch_size=5)
    batch = drawn(player)
    replay = taken(batch, "replay")
    distance = (player.model(replay["inputs"]) - replay["recalled.logits"]).square().sum() / (5 * CLASSES)
    expected = F.cross_entropy(player.model(batch["inputs"]), batch["labels"]) + 0.3 * distance
    found = player.learner.loss(player.model, batch)
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.parts["distance"], distance)


def test_what_is_kept_was_put_out_before_the_weights_moved():
    player = played(2, buffer_size=50)
    before = copy.deepcopy(player.model)
    player.play(player.at + 1)
    kept = player.learner.buffer.get(torch.arange(8, 12))
    with torch.no_grad():
        logits = before(player.last["inputs"])
    torch.testing.assert_close(kept["recalled.logits"], logits)
    assert not torch.allclose(player.model(player.last["inputs"]), logits)


def test_outputs_of_any_shape_are_kept_example_by_example():
    player = played(3, regression, buffer_size=50, minibatch_size=50)
    kept = player.learner.buffer.everything()
    assert [len(each) for each in kept["recalled.slopes"]] == [len(each) for each in kept["links"]]
    batch = drawn(player)
    objective = player.learner.objective
    outputs = objective.outputs(player.model, taken(batch, "replay"))
    expected = objective.task_loss(player.model, own(batch))[0]
    expected = expected + 0.3 * objective.distance(outputs, taken(batch, "replay"))
    torch.testing.assert_close(player.learner.loss(player.model, batch).total, expected)


def test_replayed_examples_have_no_part_in_the_batch_s_normalization():
    player = played(3)
    player.model = nn.Sequential(nn.Linear(PIXELS, 5), nn.BatchNorm1d(5), nn.Linear(5, CLASSES))
    batch = drawn(player)
    alone = player.learner.loss(player.model, own(batch)).kept["logits"]
    assert same(player.learner.loss(player.model, batch).kept["logits"], alone)


@pytest.mark.parametrize("problem", [classification, regression])
def test_a_stop_anywhere_changes_nothing(problem):
    check_stops(lambda: played(0, problem))
