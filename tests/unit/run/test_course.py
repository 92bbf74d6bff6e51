"""A course says of every step what it belongs to, and which examples it takes."""

import pytest
import torch

from lifecycle.toy import ToyData
from milepost.learning import Learner, LossOnly, Setting, StepLoss, Stretch, Task
from milepost.options import TrainingOptions
from milepost.run.course import lay_out, with_buffers
from milepost.run.order import BatchOrder


class Planner(Learner):
    """Plan what a test says."""

    def __init__(self, *stretches):
        super().__init__(None, Setting(LossOnly(lambda model, batch: (batch["x"].sum(), {})), data(), (), 0, 4, 2))
        self.planned = stretches or (Stretch(),)

    def stretches(self, task):
        return self.planned

    def loss(self, model, batch):
        return StepLoss(batch["x"].sum(), {}, {})

    def stretch_examples(self, stretch):
        return data(9)


def data(count=23):
    return ToyData(torch.arange(float(count)), torch.zeros(count))


def tasks(*sizes):
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [Task(str(n), torch.arange(end - size, end)) for n, (size, end) in enumerate(zip(sizes, ends, strict=True))]


def course(*sizes, learner=None, **training):
    options = TrainingOptions(**{"epochs": 2, "batch_size": 4, **training})
    return lay_out(7, options, data(sum(sizes)), tasks(*sizes), learner or Planner())


def test_without_tasks_it_is_the_order_of_the_batches():
    found, order = course(23), BatchOrder(7, 23, 4)
    assert found.total_steps == 12
    for step in range(12):
        assert torch.equal(found.indices(step), order.indices(step))
        assert found.epoch(step) == step // 6
    assert [found.tasks_done(step) for step in (0, 11, 12)] == [0, 0, 1]


def test_tasks_come_one_after_the_other_each_with_its_own_examples():
    found = course(8, 12, 3)
    assert [(leg.task, leg.first, leg.steps) for leg in found.legs] == [(0, 0, 4), (1, 4, 6), (2, 10, 2)]
    seen = [sorted(torch.cat([found.indices(s) for s in steps]).tolist()) for steps in ((0, 1), (4, 5, 6), (10,))]
    assert seen == [list(range(8)), list(range(8, 20)), list(range(20, 23))]
    assert [found.epoch(step) for step in (0, 2, 3, 4, 7, 9, 10, 12)] == [0, 1, 1, 2, 3, 3, 4, 6]
    assert [found.task(step) for step in (0, 1, 4, 5, 10, 11, 12)] == [0, 0, 0, 1, 1, 2, 2]
    assert [found.tasks_done(step) for step in (0, 3, 4, 9, 10, 12)] == [0, 0, 1, 1, 2, 3]


def test_no_task_repeats_the_order_of_another():
    found = course(8, 8, 8)
    orders = [tuple((torch.cat([found.indices(s) for s in (f, f + 1)]) % 8).tolist()) for f in range(0, 12, 2)]
    assert len(set(orders)) == 6


def test_a_leg_ends_with_its_last_step():
    found = course(8, 12)
    ended = {step: found.ended(step) for step in range(11)}
    assert {step: leg.task for step, leg in ended.items() if leg is not None} == {4: 0, 10: 1}
    assert [found.horizon(step) for step in (0, 3, 4, 9)] == [4, 4, 10, 10]


@pytest.mark.parametrize(("every", "expected"), [(1, [2, 4, 7, 10]), (3, [4, 7, 10])])
def test_a_pass_ends_every_few_passes_and_with_every_leg(every, expected):
    found = course(8, 12)
    assert [step for step in range(1, 11) if found.pass_ended(step, every)] == expected


def test_the_length_in_steps_is_that_of_a_task():
    found = course(8, 12, steps=3)
    assert [(leg.first, leg.steps) for leg in found.legs] == [(0, 3), (3, 3)]
    assert found.epoch(3) == 2, "the pass that the first task did not finish is over"
    assert found.pass_ended(3, 1)


def test_a_learner_plans_stretches_and_takes_examples_from_its_buffer():
    planner = Planner(Stretch(epochs=1, trains=False), Stretch("buffer", epochs=3, count=5))
    found = course(8, 12, learner=planner)
    assert [(leg.task, leg.stretch.source, leg.first, leg.steps, leg.begins, leg.ends) for leg in found.legs] == [
        (0, "task", 0, 2, True, False), (0, "buffer", 2, 6, False, True),
        (1, "task", 8, 3, True, False), (1, "buffer", 11, 6, False, True),
    ]  # fmt: skip
    both = with_buffers(data(20), found, planner)
    assert sorted(torch.cat([found.indices(2), found.indices(3)]).tolist()) == [20, 21, 22, 23, 24]
    assert both.batch(torch.tensor([23, 20]))["x"].tolist() == [3.0, 0.0]
    assert both.batch(torch.tensor([3, 1]))["x"].tolist() == [3.0, 1.0]
    assert both.describe(torch.tensor([21])) == "toy 1"
    assert [found.tasks_done(step) for step in (2, 8, 17)] == [0, 1, 2]


def test_data_without_a_buffer_stay_as_they_are():
    examples = data(20)
    assert with_buffers(examples, course(8, 12), Planner()) is examples


def test_a_run_of_no_steps_has_no_tasks_to_end():
    found = course(8, 12, epochs=0)
    assert found.total_steps == 0
    assert found.epoch(0) == 0
    assert found.ended(0) is None
    assert found.leg(0).task in (0, 1)
