"""An anchor pulls weights back as hard as they matter, and a model can be shown as in an evaluation."""

import torch
from torch import nn

from milepost.learning.anchors import Anchor
from milepost.learning.weights import as_evaluated, flattened, trainable

CPU = torch.device("cpu")


def test_the_pull_is_the_gradient_of_the_penalty() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].bias.requires_grad_(False)
    anchor = Anchor(CPU)
    given = [torch.ones_like(weight) for weight in trainable(model)]
    assert anchor.add_pull(given, model, 2.0) is given  # there is nothing to hold
    anchor.weights = torch.randn_like(flattened(trainable(model)))
    assert anchor.add_pull(given, model, 2.0) is given
    anchor.importances = torch.rand_like(anchor.weights)
    moved = torch.cat([weight.flatten() for weight in trainable(model)]) - anchor.weights
    (2.0 * (anchor.importances * moved.square()).sum()).backward()
    for _ in range(2):
        for found, weight in zip(anchor.add_pull(given, model, 2.0), trainable(model), strict=True):
            torch.testing.assert_close(found, 1 + weight.grad)
    assert all(bool((gradient == 1).all()) for gradient in given)


def test_a_saved_anchor_shares_no_memory_with_the_one_that_takes_it() -> None:
    first, second = Anchor(CPU), Anchor(CPU)
    first.weights, first.importances = torch.ones(3), torch.arange(3.0)
    second.load_state_dict(first.state_dict())
    first.weights.zero_()
    assert second.weights is not None
    assert second.weights.tolist() == [1, 1, 1]
    second.load_state_dict(Anchor(CPU).state_dict())
    assert second.weights is None
    assert second.importances is None


def test_a_model_is_put_back_module_by_module() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)))
    model[1][0].eval()
    before = [module.training for module in model.modules()]
    with as_evaluated(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    assert before.count(False) == 1
