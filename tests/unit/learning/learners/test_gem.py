"""GEM projects the gradient onto those that raise no earlier task's loss: equations 8 to 11."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learning_driver import Player, check_stops, made
from learning_sets import classification, regression
from milepost.learning.learners.gem import dual_solution, projected


def played(event, problem=classification, **options):
    """Play until an event, with a buffer of 12 examples."""
    setting, model = problem()
    player = Player(made("gem", setting, **{"buffer_size": 12, **options}), model, 0.02)
    return player.play(player.position(*event))


def brute_force(gram, products, gamma):
    """Minimise ½ vᵀ A v + bᵀ v for v ≥ γ by trying every set of unknowns that lie on the bound."""
    count, best = len(gram), None
    for free in itertools.chain.from_iterable(itertools.combinations(range(count), n) for n in range(count + 1)):
        v = np.full(count, gamma)
        rows = list(free)
        if rows:
            held = [k for k in range(count) if k not in free]
            right = -products[rows] - gram[np.ix_(rows, held)] @ v[held]
            v[rows] = np.linalg.solve(gram[np.ix_(rows, rows)], right)
        value = 0.5 * v @ gram @ v + products @ v
        if (v >= gamma - 1e-12).all() and (best is None or value < best[0]):
            best = (value, v)
    return best[1]


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.0, 0.5]))
def test_the_dual_is_solved(seed, tasks, gamma):
    source = np.random.default_rng(seed)
    references, gradient = source.normal(size=(tasks, 7)), source.normal(size=7)
    gram, products = references @ references.T, references @ gradient
    np.testing.assert_allclose(
        dual_solution(gram, products, gamma), brute_force(gram, products, gamma), rtol=1e-6, atol=1e-8
    )


@given(st.integers(0, 10**6))
def test_the_projection_is_the_nearest_vector_that_is_allowed(seed):
    source = torch.Generator().manual_seed(seed)
    references = torch.randn(2, 4, generator=source, dtype=torch.float64)
    gradient = torch.randn(4, generator=source, dtype=torch.float64)
    found = projected(gradient, references)
    assert bool((references @ found > -1e-7).all())
    others = gradient + 2 * torch.randn(500, 4, generator=source, dtype=torch.float64)
    allowed = others[(others @ references.T >= 0).all(1)]
    assert bool(((allowed - gradient).norm(dim=1) >= (found - gradient).norm() - 1e-7).all())


def test_a_gradient_that_violates_nothing_stays():
    gradient = torch.tensor([1.0, 1.0])
    assert projected(gradient, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 0.5) is gradient


def test_a_margin_moves_further_towards_the_references():
    found = projected(torch.tensor([1.0, -1.0]), torch.tensor([[0.0, 2.0]]), 0.75)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.5]))


def test_parallel_references_are_no_trouble():
    found = projected(torch.tensor([1.0, -1.0]), torch.tensor([[0.0, 2.0], [0.0, 2.0], [0.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)
    assert projected(torch.tensor([1.0, -1.0]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])).isfinite().all()


def test_every_task_has_a_memory_and_a_gradient_of_its_own():
    player = played(("step", 7), gamma=0.0)  # two tasks have ended
    asked = []

    def gradients_of(batch):
        asked.append(batch)
        return [torch.tensor([0.0, 1.0]) if len(asked) == 1 else torch.tensor([1.0, 0.0])]

    (found,) = player.learner.corrected([torch.tensor([-1.0, 2.0])], player.model, gradients_of)
    assert [set(batch["labels"].tolist()) for batch in asked] == [{0, 1}, {2, 3}]
    assert [len(batch["labels"]) for batch in asked] == [4, 4]
    torch.testing.assert_close(found, torch.tensor([0.0, 2.0]))


def test_tasks_that_are_learned_again_keep_a_memory_each():
    player = played(("end_task", 2)).play()
    for task in (0, 1, 0, 2):
        player.again(task)
    asked = []
    gradients = [torch.ones(2)]
    player.learner.corrected(gradients, player.model, lambda batch: asked.append(batch) or gradients)
    assert [set(batch["labels"].tolist()) for batch in asked] == [{0, 1}, {2, 3}, {4, 5}]
    assert [len(batch["labels"]) for batch in asked] == [4, 4, 4]


def test_the_first_task_is_learned_as_it_comes():
    player = played(("step", 2))
    gradients = [torch.ones(3)]
    assert player.learner.corrected(gradients, player.model, lambda batch: pytest.fail("asked")) is gradients


@pytest.mark.parametrize("problem", [classification, regression])
def test_a_stop_anywhere_changes_nothing(problem):
    check_stops(lambda: played(("begin_task",), problem))
