"""The average lies beside the raw weights and never disturbs them."""

import torch
from torch import nn

from milepost.run.averaging import AveragedModel


def test_the_average_follows_its_rule_and_leaves_the_weights_alone():
    model = nn.Linear(2, 1)
    averaged = AveragedModel(model, 0.9)
    expected = model.weight.detach().clone()
    for step in (1, 2, 50, 500):
        with torch.no_grad():
            model.weight += 1.0
        raw = model.weight.detach().clone()
        averaged.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * raw
        assert torch.equal(model.weight.detach(), raw)
        torch.testing.assert_close(averaged.model.weight.detach(), expected)


def test_buffers_are_copied():
    model = nn.BatchNorm1d(2)
    averaged = AveragedModel(model, 0.9)
    model(torch.randn(8, 2))
    averaged.update(1)
    assert torch.equal(averaged.model.running_mean, model.running_mean)


def test_it_begins_anew_at_the_weights_of_a_model():
    model = nn.Linear(2, 1)
    averaged = AveragedModel(model, 0.9)
    other = nn.Linear(2, 1)
    averaged.restart(other)
    assert torch.equal(averaged.model.weight, other.weight)
    with torch.no_grad():
        other.weight += 1.0
    assert not torch.equal(averaged.model.weight, other.weight), "it has weights of its own"
