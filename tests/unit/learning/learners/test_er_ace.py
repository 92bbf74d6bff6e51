"""ER-ACE tells new examples apart among their own classes, replayed ones among those seen."""

import dataclasses

import torch
import torch.nn.functional as F

from learning_driver import Player, check_stops, made
from learning_sets import classification
from milepost.learning.data import own, taken


def played(steps, setting=None, **options):
    """Take some steps with a buffer of 12 examples."""
    given, model = classification()
    player = Player(made("er-ace", setting or given, **{"buffer_size": 12, **options}), model)
    return player.play(player.position("step", steps))


def drawn(player, indices):
    """Draw for a batch of these examples."""
    return player.learner.draw(player.learner.setting.examples.batch(torch.tensor(indices)), player.model)


def among(logits, labels, classes):
    """Compute a cross entropy over some classes from its definition."""
    chosen = logits[:, classes]
    places = torch.tensor([classes.index(int(label)) for label in labels])
    return -torch.log_softmax(chosen, 1)[torch.arange(len(labels)), places].mean()


def test_each_cross_entropy_is_over_its_own_classes():
    player = played(4, minibatch_size=5)  # the second task has begun
    batch = drawn(player, [2, 3, 8, 9])
    replay = taken(batch, "replay")
    expected = among(player.model(batch["inputs"]), batch["labels"], [2, 3])
    expected = expected + among(player.model(replay["inputs"]), replay["labels"], [0, 1, 2, 3])
    torch.testing.assert_close(player.learner.loss(player.model, batch).total, expected)


def test_a_new_batch_pushes_no_class_away_that_is_not_in_it():
    player = played(4)
    total = player.learner.loss(player.model, own(drawn(player, [2, 3, 8, 9]))).total
    (bias,) = torch.autograd.grad(total, [player.model.last.bias])
    assert bias[[0, 1, 4, 5]].tolist() == [0, 0, 0, 0]
    assert float(bias[2]) != 0


def test_a_task_that_is_learned_again_comes_back_to_all_classes_seen():
    player = played(0).play().again(0)
    batch = drawn(player, [0, 1, 6, 7])
    assert taken(batch, "seen")["classes"].tolist() == [0, 1, 2, 3, 4, 5]
    assert player.learner.loss(player.model, batch).total.isfinite()


def test_where_tasks_don_t_tell_their_classes_replay_is_over_all():
    setting, _ = classification()
    tasks = tuple(dataclasses.replace(task, classes=()) for task in setting.tasks)
    player = played(4, dataclasses.replace(setting, tasks=tasks))
    batch = drawn(player, [2, 3, 8, 9])
    replay = taken(batch, "replay")
    found = player.learner.loss(player.model, batch)
    torch.testing.assert_close(found.parts["replay"], F.cross_entropy(player.model(replay["inputs"]), replay["labels"]))


def test_a_stop_anywhere_changes_nothing():
    check_stops(lambda: played(0))
