"""GDumb keeps a balanced sample of what it is shown, and fits the first weights to it."""

import copy

import torch

from learning_driver import Player, check_stops, made, same
from learning_sets import classification
from milepost.learning.learner import Stretch


def player(**options):
    """Make a learner of three tasks; a buffer of 12 examples is passed over twice."""
    setting, model = classification(epochs=3)
    given = {"buffer_size": 12, "fitting_epochs": 2, **options}
    return Player(made("gdumb", setting, **given), model)


def test_a_task_is_one_look_and_a_fit_to_what_was_kept():
    look = Stretch(epochs=1, trains=False)
    learner = player(buffer_size=20).learner
    assert learner.stretches(0) == (look, Stretch("buffer", 2, 12))
    assert learner.stretches(1) == (look, Stretch("buffer", 2, 20))


def test_a_look_moves_no_weight_and_fills_the_buffer():
    playing = player()
    before = copy.deepcopy(playing.model.state_dict())
    playing.play(playing.position("begin_stretch", 1))
    assert same(dict(playing.model.state_dict()), dict(before))
    assert sorted(playing.learner.buffer.everything()["labels"].tolist()) == [0] * 6 + [1] * 6
    assert playing.losses == []


def test_classes_share_the_buffer_evenly_in_the_end():
    labels = player().play().learner.buffer.everything()["labels"]
    assert torch.bincount(labels).tolist() == [2] * 6


def test_every_fit_starts_from_the_first_weights():
    playing = player()
    before = copy.deepcopy(playing.model.state_dict())
    playing.play(playing.position("end_task"))
    assert not same(dict(playing.model.state_dict()), dict(before))
    playing.play(playing.position("begin_stretch", 3) + 1)  # that of the second task's fit
    assert same(dict(playing.model.state_dict()), dict(before))


def test_a_fit_passes_over_the_buffer_and_leaves_it_alone():
    playing = player()
    playing.play(playing.position("begin_stretch", 1))
    kept = playing.learner.buffer.everything()
    source = playing.learner.stretch_examples(Stretch("buffer", 2, 12))
    assert len(source) == 12
    batch = source.batch(torch.tensor([3, 5]), 1)
    assert batch["labels"].tolist() == kept["labels"][[3, 5]].tolist()
    assert not torch.equal(batch["inputs"], source.batch(torch.tensor([3, 5]), 2)["inputs"])
    assert source.describe(torch.tensor([3, 5])) == "place 3 of the buffer, place 5 of the buffer"
    playing.play(playing.position("end_task"))
    assert same(playing.learner.buffer.everything(), kept)
    assert len(playing.losses) == 6


def test_where_fewer_were_kept_than_planned_some_come_twice():
    playing = player(buffer_size=5).play()
    source = playing.learner.stretch_examples(Stretch("buffer", 1, 9))
    assert len(playing.learner.buffer) == 5
    assert source.batch(torch.arange(9))["labels"][5:].tolist() == source.batch(torch.arange(4))["labels"].tolist()


def test_where_more_were_kept_than_planned_every_one_has_its_turn():
    """As when the first task is learned again: the buffer has examples of all tasks, the plan is for its own."""
    playing = player(buffer_size=12).play()
    source = playing.learner.stretch_examples(Stretch("buffer", 3, 5))
    labels = [source.batch(torch.arange(5), epoch)["labels"] for epoch in range(3)]
    kept = playing.learner.buffer.everything()["labels"]
    assert torch.cat(labels)[:12].tolist() == kept.tolist()
    assert source.describe(torch.arange(2)) == "one of the buffer, one of the buffer"


def test_a_stop_anywhere_changes_nothing():
    check_stops(player)
