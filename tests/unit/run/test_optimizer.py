"""Any optimizer of torch by name, its state by parameter name."""

import pytest
import torch
from torch import nn

from milepost.errors import OptionsError, StateMismatchError
from milepost.options import OptimizerOptions
from milepost.run.optimizer import NamedOptimizer, make_optimizer


def trained(name="AdamW", steps=3, **arguments):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = make_optimizer(OptimizerOptions(name=name, learning_rate=0.01, arguments=arguments), model)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).sum().backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RMSprop", "Adadelta", "Adagrad"])
def test_optimizers_of_torch_are_made_and_step(name):
    before, _ = trained(name, steps=0)
    after, _ = trained(name, steps=1)
    assert not all(a.equal(b) for a, b in zip(after.parameters(), before.parameters(), strict=True))


def test_an_unknown_name_lists_the_known():
    with pytest.raises(OptionsError, match=r"expected one of .*AdamW.*found 'Adamm'"):
        make_optimizer(OptimizerOptions(name="Adamm"), nn.Linear(1, 1))


def test_a_refused_argument_says_which_optimizer():
    with pytest.raises(OptionsError, match=r"could not make the optimizer 'SGD' with .*betas"):
        make_optimizer(OptimizerOptions(name="SGD", arguments={"betas": [0.9, 0.99]}), nn.Linear(1, 1))


def test_state_is_kept_by_name_and_comes_back():
    model, optimizer = trained()
    state = NamedOptimizer(optimizer, model).state_dict()
    assert set(state["state"]) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    other_model, other = trained(steps=0)
    NamedOptimizer(other, other_model).load_state_dict(state)
    restored = NamedOptimizer(other, other_model).state_dict()
    for name, values in state["state"].items():
        for key, value in values.items():
            assert torch.equal(torch.as_tensor(restored["state"][name][key]), torch.as_tensor(value)), (name, key)


def test_the_state_of_another_model_is_refused():
    model, optimizer = trained()
    state = NamedOptimizer(optimizer, model).state_dict()
    state["state"]["2.weight"] = state["state"]["1.weight"]
    with pytest.raises(StateMismatchError, match=r"found also \['2.weight'\]"):
        NamedOptimizer(optimizer, model).load_state_dict(state)
