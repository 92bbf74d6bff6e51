"""Experience replay minimises the mean loss over new and kept examples together."""

import pytest
import torch
import torch.nn.functional as F

from learning_driver import Player, check_stops, made, same
from learning_sets import classification, regression
from milepost.learning.data import own, taken


def played(steps, problem=classification, **options):
    """Take some steps with a buffer of 12 examples."""
    setting, model = problem()
    player = Player(made("er", setting, **{"buffer_size": 12, **options}), model, 0.02)
    return player.play(player.position("step", steps))


def drawn(player, first=0):
    """Draw for a batch of the first examples."""
    batch = player.learner.setting.examples.batch(torch.arange(first, first + 4))
    return player.learner.draw(batch, player.model)


def test_the_loss_is_the_mean_over_all_examples_of_both():
    player = played(2, minibatch_size=3)
    batch = drawn(player)
    replay = taken(batch, "replay")
    assert len(replay["labels"]) == 3
    inputs = torch.cat([batch["inputs"], replay["inputs"]])
    expected = F.cross_entropy(player.model(inputs), torch.cat([batch["labels"], replay["labels"]]))
    found = player.learner.loss(player.model, batch)
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.parts["replay"], F.cross_entropy(player.model(replay["inputs"]), replay["labels"]))


def test_in_any_other_domain_the_means_are_weighted_by_their_examples():
    player = played(2, regression, minibatch_size=2)
    batch = drawn(player)
    loss = player.learner.objective.task_loss
    new, old = loss(player.model, own(batch)), loss(player.model, taken(batch, "replay"))
    found = player.learner.loss(player.model, batch)
    torch.testing.assert_close(found.total, (4 * new[0] + 2 * old[0]) / 6)
    assert same(found.parts["totals"].detach(), new[1]["totals"].detach())


def test_at_first_there_is_nothing_to_replay():
    player = played(0)
    batch = drawn(player)
    assert own(batch) == batch
    found = player.learner.loss(player.model, batch)
    torch.testing.assert_close(found.total, F.cross_entropy(player.model(batch["inputs"]), batch["labels"]))
    assert float(found.parts["replay"]) == 0


def test_as_many_as_in_a_batch_are_replayed_or_all_that_there_are():
    setting, model = classification()
    player = Player(made("er", setting, buffer_size=3), model).play()
    assert len(player.last["replay/labels"]) == 3
    player = Player(made("er", setting, buffer_size=30), model).play()
    assert len(player.last["replay/labels"]) == setting.batch_size


def test_examples_are_kept_as_they_are_and_varied_when_they_come_back():
    setting, model = classification()
    player = Player(made("er", setting, buffer_size=50, minibatch_size=50), model).play()
    kept = player.learner.buffer.everything()
    stored = setting.examples.inputs
    assert kept["inputs"].dtype == torch.uint8
    assert sorted(kept["inputs"].tolist()) == sorted(stored.tolist())
    first, second = (taken(drawn(player), "replay")["inputs"] for _ in range(2))
    assert not torch.equal(first.sum(1).sort().values, second.sum(1).sort().values)


def test_the_buffer_is_a_sample_of_all_that_was_seen():
    player = played(0).play()
    assert len(player.learner.buffer) == 12
    assert player.learner.buffer.seen == 36
    assert len(set(player.learner.buffer.everything()["labels"].tolist())) > 2


@pytest.mark.parametrize("problem", [classification, regression])
def test_a_stop_anywhere_changes_nothing(problem):
    check_stops(lambda: played(0, problem))
