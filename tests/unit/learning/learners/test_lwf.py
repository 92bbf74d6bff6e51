"""Learning without forgetting compares with the model as it was at the end of the last task."""

import copy

import pytest
import torch

from learning_driver import Player, check_stops, made
from learning_sets import classification, regression
from milepost.learning.data import own


def player(problem=classification, **options):
    setting, model = problem()
    return Player(made("lwf", setting, **options), model)


def at_second_task(problem=classification, **options):
    """Return a play in the middle of the second task, the teacher, and the last batch."""
    play = player(problem, **options)
    play.play(play.position("begin_task", 1))
    teacher = copy.deepcopy(play.model)
    play.play(play.position("begin_task", 1) + 4)
    return play, teacher, play.learner.draw(own(play.last), play.model)


def test_the_first_task_is_learned_as_it_comes():
    play = player()
    play.play(play.position("end_task", 0))
    assert set(play.last) == {"inputs", "labels"}
    found, batch = play.learner.loss(play.model, play.last), play.last
    assert torch.equal(found.total, play.learner.objective.task_loss(play.model, batch)[0])
    assert found.parts["distillation"] == 0


def test_the_loss_is_the_task_s_and_the_distillation_over_classes_before():
    play, teacher, batch = at_second_task(alpha=0.6, softmax_temp=3.0)
    logits, old = play.model(batch["inputs"]), teacher(batch["inputs"])
    wanted = torch.softmax(old[:, :2] / 3, 1)  # the first task has classes 0 and 1
    distance = -(wanted * torch.log_softmax(logits[:, :2] / 3, 1)).sum(1).mean()
    found = play.learner.loss(play.model, batch)
    torch.testing.assert_close(found.parts["distillation"], distance)
    torch.testing.assert_close(found.total, torch.nn.functional.cross_entropy(logits, batch["labels"]) + 0.6 * distance)


def test_a_teacher_knows_all_classes_that_were_learned_also_after_an_earlier_task_came_again():
    play = player().play().again(0)
    batch = play.learner.draw(own(play.last), play.model)
    assert batch["teacher/classes"].tolist() == [0, 1, 2, 3, 4, 5]


def test_outputs_that_are_no_logits_are_kept_close_to_the_teacher_s():
    play, teacher, batch = at_second_task(regression, alpha=0.6)
    objective = play.learner.objective
    now, then = objective.outputs(play.model, batch), objective.outputs(teacher, batch)
    distance = sum((now[name] - then[name].detach()).square().mean() for name in ("totals", "slopes"))
    found = play.learner.loss(play.model, batch)
    torch.testing.assert_close(found.parts["distillation"], distance)
    torch.testing.assert_close(found.total, objective.loss(now, own(batch))[0] + 0.6 * distance)
    assert not any(value.requires_grad for value in batch.values())


def test_slopes_of_a_teacher_are_found_also_where_gradients_are_off():
    play, _, batch = at_second_task(regression)
    with torch.no_grad():
        again = play.learner.draw(own(batch), play.model)
    assert torch.equal(again["teacher/recalled.slopes"], batch["teacher/recalled.slopes"])


def test_the_stronger_the_distillation_the_closer_the_outputs_stay():
    far = []
    for alpha in (0.0, 1.0, 5.0):
        play = player(alpha=alpha)
        play.play(play.position("begin_task", 1))
        inputs = play.learner.setting.examples.batch(torch.arange(36))["inputs"]
        before = torch.log_softmax(play.model(inputs)[:, :2], 1).detach()
        play.play(play.position("end_task", 1))
        after = torch.log_softmax(play.model(inputs)[:, :2], 1).detach()
        far.append(float((after - before).square().mean()))
    assert far[0] > far[1] > far[2] > 0


@pytest.mark.parametrize("problem", [classification, regression])
def test_it_goes_on_from_any_place(problem):
    check_stops(lambda: player(problem))
