"""Importances are those of single examples, however many are taken at once."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from learning_sets import CLASSES, PIXELS, Chains, Network, Regression, Spots, classification, regression
from milepost.learning.fisher import NEGLIGIBLE, TOGETHER, Fisher
from milepost.learning.objective import Classification
from milepost.learning.weights import trainable

CPU = torch.device("cpu")


def by_hand(objective: Any, model: nn.Module, examples: Any, indices: Tensor) -> Tensor:
    """Average p (∂ log p / ∂θ)² over examples, one backward pass for each."""
    total = torch.zeros(sum(weight.numel() for weight in trainable(model)))
    for index in indices:
        model.zero_grad()
        loss, _ = objective.task_loss(model, examples.batch(index[None]))
        loss.backward()
        found = [torch.zeros_like(w) if w.grad is None else w.grad for w in trainable(model)]
        total += torch.exp(-loss.detach()) * torch.cat([gradient.flatten() for gradient in found]).square()
    model.zero_grad()
    return total / len(indices)


class Counting:
    """Count how many examples each batch has."""

    def __init__(self, examples: Any) -> None:
        self.examples, self.sizes = examples, list[int]()

    def batch(self, indices: Tensor, epoch: int = 0) -> Any:
        self.sizes.append(len(indices))
        return self.examples.batch(indices, epoch)


def measured(objective: Any, model: nn.Module, examples: Any, count: int, size: int = 5) -> tuple[Tensor, list[int]]:
    counting = Counting(examples)
    fisher = Fisher(objective, counting, CPU)
    for part in torch.arange(count).split(size):
        fisher.add(model, part)
    return fisher.mean(model), counting.sizes


class Twice(nn.Module):
    """Use one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(PIXELS, PIXELS), nn.Linear(PIXELS, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.tanh(self.inner(torch.tanh(self.inner(inputs)))))


class Tied(nn.Module):
    """Use the weights of a layer in another one."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.last = (nn.Linear(PIXELS, n) for n in (PIXELS, PIXELS, CLASSES))
        self.two.weight = self.one.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.tanh(self.two(torch.tanh(self.one(inputs)))))


class Aside(nn.Module):
    """Use a layer's weights also without the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(PIXELS, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs) + torch.tanh(inputs @ self.layer.weight.T)


def in_place() -> nn.Module:
    return nn.Sequential(nn.Linear(PIXELS, 8), nn.ReLU(inplace=True), nn.Linear(8, CLASSES))


def convolution() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, PIXELS)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(20, CLASSES))


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(PIXELS, 8), nn.BatchNorm1d(8, affine=False), nn.Dropout(), nn.Linear(8, CLASSES))


def frozen() -> nn.Module:
    model = Network()
    model.first.weight.requires_grad_(False)
    return model


@pytest.mark.parametrize("make", [Network, frozen, dropping])
def test_linear_layers_are_taken_at_once_and_give_what_single_examples_do(make: Any) -> None:
    spots, model = Spots(23), make()
    random = torch.get_rng_state()
    found, sizes = measured(Classification(), model, spots, 23)
    assert torch.equal(random, torch.get_rng_state())
    assert model.training
    assert sizes == [5, 23]  # the first batch to find out, then all that waited
    model.eval()
    torch.testing.assert_close(found, by_hand(Classification(), model, spots, torch.arange(23)))
    assert found.max() > 1e-4


@pytest.mark.parametrize("make", [Twice, Tied, Aside, in_place, convolution])
def test_other_models_are_measured_one_example_after_the_other(make: Any) -> None:
    spots, model = Spots(7), make()
    found, sizes = measured(Classification(), model, spots, 7)
    assert sizes.count(1) == 7
    torch.testing.assert_close(found, by_hand(Classification(), model, spots, torch.arange(7)))


def test_a_loss_of_derivatives_is_measured_one_example_after_the_other() -> None:
    setting, model = regression(count=6)
    found, sizes = measured(Regression(), model, Chains(6, setting.seed), 6, size=2)
    assert sizes.count(1) == 6
    torch.testing.assert_close(found, by_hand(Regression(), model, Chains(6, setting.seed), torch.arange(6)))


def test_derivatives_in_a_loss_are_noticed_also_where_each_example_has_a_loss() -> None:
    class Slopes(Classification):
        def outputs(self, model: nn.Module, batch: Any) -> Any:
            inputs = batch["inputs"].detach().requires_grad_()
            logits = model(inputs)
            (slope,) = torch.autograd.grad(logits.square().sum(), inputs, create_graph=True)
            return {"logits": logits + slope[:, :CLASSES]}

    spots, model = Spots(6), Network()
    found, sizes = measured(Slopes(), model, spots, 6)
    assert sizes.count(1) == 6
    torch.testing.assert_close(found, by_hand(Slopes(), model, spots, torch.arange(6)))


def test_examples_wait_until_there_are_many() -> None:
    _, sizes = measured(Classification(), Network(), Spots(TOGETHER + 50), TOGETHER + 50, size=50)
    assert sizes == [50, -(-TOGETHER // 50) * 50, TOGETHER + 50 - -(-TOGETHER // 50) * 50]


def test_measuring_goes_on_from_a_saved_state_with_the_same_bits() -> None:
    setting, model = classification()
    whole, first = (Fisher(setting.objective, setting.examples, CPU) for _ in range(2))
    for start in range(0, 36, 3):
        whole.add(model, torch.arange(start, start + 3))
        first.add(model, torch.arange(start, start + 3))
        again = Fisher(setting.objective, setting.examples, CPU)
        again.load_state_dict(first.state_dict())
        first = again
    assert torch.equal(first.mean(model), whole.mean(model))


def test_nothing_measured_is_zero_and_so_is_what_is_negligible() -> None:
    model = Network()
    fisher = Fisher(Classification(), Spots(12), CPU)
    assert not fisher.mean(model).any()
    with torch.no_grad():
        model.last.bias.copy_(torch.tensor([60.0, 0, 0, 0, 0, 0]))
    fisher.add(model, torch.tensor([0, 6]))  # both are of the class that is certain
    found = fisher.mean(model)
    assert not found[(found > 0) & (found < NEGLIGIBLE)].any()
