"""An objective gives outputs and losses; several batches take one pass where that is the same."""

import pytest
import torch
from torch import nn

from learning_sets import CLASSES, PIXELS, Network, Regression, regression
from milepost.learning.objective import Classification, LossOnly


class Counting(nn.Module):
    """Count the passes through a network."""

    def __init__(self, network):
        super().__init__()
        self.network, self.passes = network, 0

    def forward(self, inputs):
        self.passes += 1
        return self.network(inputs)


def normalizing():
    return nn.Sequential(nn.Linear(PIXELS, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES))


def batches():
    return [{"inputs": torch.randn(n, PIXELS), "labels": torch.arange(n) % CLASSES} for n in (3, 5, 2)]


def test_one_pass_gives_the_logits_of_each_batch():
    model, given = Counting(Network()), batches()
    found = Classification().outputs_of_each(model, given)
    assert model.passes == 1
    for outputs, batch in zip(found, given, strict=True):
        torch.testing.assert_close(outputs["logits"], model.network(batch["inputs"]))


def test_batch_normalization_sees_each_batch_by_itself():
    model, given = Counting(normalizing()), batches()
    found = Classification().outputs_of_each(model, given)
    assert model.passes == 3
    for outputs, batch in zip(found, given, strict=True):
        assert torch.equal(outputs["logits"], model.network(batch["inputs"]))


def test_batch_normalization_sees_all_at_once_where_that_is_asked_for():
    model, given = Counting(normalizing()), batches()
    found = Classification().outputs_of_each(model, given, as_one=True)
    assert model.passes == 1
    together = model.network(torch.cat([batch["inputs"] for batch in given]))
    assert torch.equal(torch.cat([outputs["logits"] for outputs in found]), together)


def test_batch_normalization_that_is_at_rest_is_no_hindrance():
    model = Counting(normalizing()).eval()
    Classification().outputs_of_each(model, batches())
    assert model.passes == 1


def test_any_other_objective_takes_a_pass_for_each():
    setting, model = regression()
    given = [setting.examples.batch(torch.tensor(numbers)) for numbers in ([0, 1], [2, 3, 4])]
    objective = Regression()
    for outputs, batch in zip(objective.outputs_of_each(model, given, as_one=True), given, strict=True):
        assert torch.equal(outputs["totals"], objective.outputs(model, batch)["totals"])


def test_a_loss_alone_is_an_objective():
    def squared(model, batch):
        error = model(batch["x"])[:, 0]
        return error.square().mean(), {"size": error.abs().mean()}

    objective, model, batch = LossOnly(squared), nn.Linear(2, 1), {"x": torch.randn(3, 2)}
    total, parts = objective.task_loss(model, batch)
    assert torch.equal(total, squared(model, batch)[0])
    assert parts.keys() == {"size"}
    assert torch.equal(parts["size"], squared(model, batch)[1]["size"])
    assert objective.count(batch) == 3
    with pytest.raises(TypeError, match="expected an objective that knows them, found a loss alone"):
        objective.distance({}, batch)
