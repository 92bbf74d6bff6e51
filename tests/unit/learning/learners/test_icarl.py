"""iCaRL distils sigmoids, keeps exemplars by herding, and predicts by the nearest mean."""

import dataclasses
import re

import pytest
import torch
import torch.nn.functional as F

from learning_driver import Player, check_stops, made
from learning_sets import classification
from milepost.errors import OptionsError
from milepost.learning.data import taken
from milepost.learning.exemplars import herded


def played(event, **options):
    """Play until an event of three tasks, with a buffer of 12 examples."""
    setting, model = classification()
    player = Player(made("icarl", setting, **{"buffer_size": 12, "minibatch_size": 5, **options}), model)
    return player.play(player.position(*event))


def by_hand(player, batch, old, new):
    """Compute the loss of algorithm 3 from its definition, as means."""
    parts = [batch, taken(batch, "replay")] if old else [batch]
    inputs, labels = (torch.cat([part[name] for part in parts]) for name in ("inputs", "labels"))
    g = torch.sigmoid(player.model(inputs))
    total = torch.zeros(())
    for label in new:
        hit = (labels == label).float()
        total = total - (hit * g[:, label].log() + (1 - hit) * (1 - g[:, label]).log()).sum()
    if old:
        q = torch.sigmoid(player.learner.teacher.module(player.model)(inputs))
        for label in old:
            total = total - (q[:, label] * g[:, label].log() + (1 - q[:, label]) * (1 - g[:, label]).log()).sum()
    return total / (len(labels) * len([*old, *new]))


@pytest.mark.parametrize(
    ("step", "old", "new", "examples"), [(1, [], [0, 1], [0, 1, 6]), (4, [0, 1], [2, 3], [2, 3, 8])]
)
def test_the_loss_is_that_of_algorithm_3(step, old, new, examples):
    player = played(("step", step))
    batch = player.learner.draw(player.learner.setting.examples.batch(torch.tensor(examples)), player.model)
    assert len(taken(batch, "replay").get("labels", [])) == (5 if old else 0)
    found = player.learner.loss(player.model, batch).total
    torch.testing.assert_close(found, by_hand(player, batch, old, new))


def test_squared_weights_are_added():
    player = played(("step", 1), wd_reg=0.1)
    batch = player.learner.draw(player.learner.setting.examples.batch(torch.tensor([0, 1])), player.model)
    squares = sum(weight.square().sum() for weight in player.model.parameters())
    expected = by_hand(player, batch, [], [0, 1]) + 0.1 * squares
    torch.testing.assert_close(player.learner.loss(player.model, batch).total, expected)


def test_the_teacher_is_the_model_at_the_end_of_the_last_task():
    player = played(("end_task", 0))
    weights = player.model.first.weight.detach().clone()
    player.play(player.position("end_task", 1))
    assert torch.equal(player.learner.teacher.module(player.model).first.weight, weights)
    assert not torch.equal(player.model.first.weight, weights)


@pytest.mark.parametrize(("task", "each"), [(0, 6), (1, 3), (2, 2)])
def test_every_class_has_its_share_of_the_buffer(task, each):
    player = played(("end_task", task))
    player.play(player.at + 1)
    shares = {label: examples["labels"].tolist() for label, examples in player.learner.exemplars.of_each()}
    assert shares == {label: [label] * each for label in range(2 * task + 2)}


def test_old_exemplars_are_reduced_to_the_best():
    player = played(("begin_task", 1))
    before = dict(player.learner.exemplars.of_each())
    player.play(player.position("begin_task", 2))
    for label in (0, 1):
        kept = dict(player.learner.exemplars.of_each())[label]["inputs"]
        assert torch.equal(kept, before[label]["inputs"][:3])


def learned_again(task):
    """Learn three tasks, then one again but for its last event."""
    player = played(("end_task", 2)).play()
    known = player.position("begin_task", task), player.position("end_task", task)
    player.events += player.events[known[0] : known[1] + 1]
    return player.play(len(player.events) - 1)


def test_the_first_task_can_be_learned_again():
    """All others are old ones then; the task's own are new, also in what is replayed of them."""
    player = learned_again(0)
    batch = player.learner.draw(player.learner.setting.examples.batch(torch.tensor([0, 1, 6])), player.model)
    assert len(taken(batch, "replay")["labels"]) == 5
    found = player.learner.loss(player.model, batch).total
    torch.testing.assert_close(found, by_hand(player, batch, [2, 3, 4, 5], [0, 1]))


def test_where_nothing_else_is_known_there_is_nothing_old():
    player = played(("end_task", 0)).play(6).again(0)
    assert player.learner.exemplars.labels == (0, 1)
    batch = player.learner.draw(player.learner.setting.examples.batch(torch.tensor([0, 1])), player.model)
    assert taken(batch, "classes")["old"].tolist() == []
    assert player.learner.loss(player.model, batch).total.isfinite()


@pytest.mark.parametrize("task", [0, 1, 2])
def test_exemplars_of_a_task_that_ends_again_are_replaced(task):
    player = learned_again(task)
    before = {label: examples["inputs"] for label, examples in player.learner.exemplars.of_each()}
    player.play()
    exemplars = player.learner.exemplars
    shares = {label: examples["labels"].tolist() for label, examples in exemplars.of_each()}
    assert shares == {label: [label] * 2 for label in range(6)}
    assert len(exemplars) == 12
    after = {label: examples["inputs"] for label, examples in exemplars.of_each()}
    others = [label for label in range(6) if label // 2 != task]
    assert all(torch.equal(before[label], after[label]) for label in others)
    training = player.learner.setting.tasks[task].training
    features, labels = player.learner._features(training, player.model)
    for label in (2 * task, 2 * task + 1):
        candidates = training[labels == label]
        best = candidates[herded(features[labels == label], 2)]
        assert torch.equal(after[label], player.learner.setting.examples.inputs[best])


def test_the_nearest_mean_of_exemplars_predicts():
    player = played(("begin_task", 2))
    learner, model = player.learner, player.model
    means = {}
    for label, examples in learner.exemplars.of_each():
        features = F.normalize(model.features(examples["inputs"] / 255), dim=1)
        means[label] = F.normalize(features.mean(0), dim=0)
    inputs = learner.setting.examples.inputs[:10] / 255
    scores = learner.predictor(model)(inputs)
    features = F.normalize(model.features(inputs), dim=1)
    for label in range(4):
        torch.testing.assert_close(scores[:, label], -(features - means[label]).square().sum(1))
    assert (scores[:, 4:] < scores[:, :4].min()).all()


def test_before_the_first_task_has_ended_the_model_predicts():
    player = played(("end_task", 0))
    assert player.learner.predictor(player.model) is player.model


def test_a_class_without_examples_has_no_exemplars():
    setting, model = classification()
    tasks = (dataclasses.replace(setting.tasks[0], training=torch.tensor([0, 6, 12])), *setting.tasks[1:])
    player = Player(made("icarl", dataclasses.replace(setting, tasks=tasks), buffer_size=12), model).play()
    assert player.learner.exemplars.labels == (0, 2, 3, 4, 5)
    assert player.learner.predictor(model)(torch.zeros(1, 12))[0, 1] == -5


@pytest.mark.parametrize(("classes", "found"), [((), "none"), ((0, 3, 4), "classes [0] that an earlier one has too")])
def test_tasks_without_classes_of_their_own_are_refused(classes, found):
    setting, _ = classification()
    tasks = (setting.tasks[0], dataclasses.replace(setting.tasks[1], classes=classes), *setting.tasks[2:])
    message = f"expected tasks that bring classes of their own, found the task '{tasks[1].name}' with {found}"
    with pytest.raises(OptionsError, match=re.escape(message)):
        made("icarl", dataclasses.replace(setting, tasks=tasks))


def test_a_buffer_without_a_place_for_each_class_is_refused():
    with pytest.raises(OptionsError, match="expected a buffer_size of at least 6, one example of each class, found 5"):
        played(("step", 0), buffer_size=5)


def test_a_stop_anywhere_changes_nothing():
    check_stops(lambda: played(("begin_task",)))
