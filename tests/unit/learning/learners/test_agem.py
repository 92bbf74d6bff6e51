"""A-GEM projects the gradient onto those that don't raise the mean loss on the memory: equation 11."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learning_driver import Player, check_stops, made, same
from learning_sets import classification, regression
from milepost.errors import OptionsError
from milepost.learning.learners.agem import projected


def played(event, problem=classification, **options):
    """Play until an event, with a buffer of 12 examples."""
    setting, model = problem()
    player = Player(made("agem", setting, **{"buffer_size": 12, **options}), model, 0.02)
    return player.play(player.position(*event))


@given(st.integers(0, 10**6))
def test_the_projection_is_the_nearest_vector_that_is_allowed(seed):
    source = torch.Generator().manual_seed(seed)
    gradient, reference = torch.randn(2, 4, generator=source, dtype=torch.float64)
    found = projected(gradient, reference)
    assert float(found @ reference) > -1e-12
    others = gradient + torch.randn(300, 4, generator=source, dtype=torch.float64)
    allowed = others[others @ reference >= 0]
    assert len(allowed)
    assert bool(((allowed - gradient).norm(dim=1) >= (found - gradient).norm() - 1e-12).all())


def test_equation_11_in_numbers():
    assert projected(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 2.0])).tolist() == [1.0, 0.0]
    assert projected(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0])).tolist() == [1.0, 1.0]
    assert projected(torch.tensor([1.0, -1.0]), torch.tensor([0.0, 0.0])).tolist() == [1.0, -1.0]


def test_the_memory_has_the_same_number_of_each_task_that_ended():
    player = played(("end_task", 1)).play()
    kept = player.learner.buffer.everything()
    assert [sorted(set(part.tolist())) for part in kept["labels"].split(4)] == [[0, 1], [2, 3], [4, 5]]
    assert len({tuple(row) for row in kept["inputs"].tolist()}) == 12


def test_a_task_that_is_learned_again_has_its_examples_replaced_and_no_others():
    player = played(("end_task", 1)).play()
    before = player.learner.buffer.everything()
    after = player.again(1).learner.buffer.everything()
    assert [sorted(set(part.tolist())) for part in after["labels"].split(4)] == [[0, 1], [2, 3], [4, 5]]
    same_rows = (before["inputs"] == after["inputs"]).all(1).split(4)
    assert [bool(rows.all()) for rows in same_rows] == [True, False, True]
    assert player.again(0).learner.buffer.seen == 12


def test_ragged_examples_are_replaced_by_their_task():
    player = played(("end_task", 1), regression).play().again(0)
    parts = player.learner.setting.tasks
    totals = player.learner.setting.examples.totals
    for task, part in enumerate(parts):
        kept = player.learner.buffer.get(player.learner.buffer.slots_of(task))
        assert set(kept["totals"].tolist()) <= set(totals[part.training].tolist())
        assert len(kept["links"]) == 6


def test_the_first_task_is_learned_as_it_comes():
    player = played(("step", 2))
    gradients = [torch.ones(3), torch.ones(2, 2)]
    assert player.learner.corrected(gradients, player.model, lambda batch: pytest.fail("asked")) is gradients


def test_later_gradients_are_projected_on_those_of_a_draw_from_the_memory():
    player = played(("step", 4), minibatch_size=3)
    shapes = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    asked = []

    def gradients_of(batch):
        asked.append(batch)
        return [torch.tensor([-1.0, 0.0]), torch.tensor([[-1.0]])]

    found = player.learner.corrected(shapes, player.model, gradients_of)
    assert [each.tolist() for each in found] == [[-1.0, 2.0], [[1.0]]]
    assert [set(batch["labels"].tolist()) <= {0, 1} for batch in asked] == [True]
    assert len(asked[0]["labels"]) == 3


def test_a_buffer_without_a_place_for_each_task_is_refused():
    setting, _ = classification()
    with pytest.raises(OptionsError, match="expected a buffer_size of at least 3, one example for each task, found 2"):
        made("agem", setting, buffer_size=2)


def test_tasks_of_fewer_examples_than_their_share_are_kept_whole():
    setting, model = classification(count=6)
    player = Player(made("agem", setting, buffer_size=30), model).play()
    assert same(player.learner.buffer.everything()["labels"].sort().values, torch.arange(6))


@pytest.mark.parametrize("problem", [classification, regression])
def test_a_stop_anywhere_changes_nothing(problem):
    check_stops(lambda: played(("begin_task",), problem))
