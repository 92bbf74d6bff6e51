"""What does not fit an optimizer is listed before torch takes it over in silence; what fits is not refused."""

import copy
from typing import Any

import pytest
import torch
from torch import nn, optim

from milepost.checkpoint.optimizer_states import optimizer_mismatches

KINDS = [optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.Adamax, optim.Adagrad, optim.Adadelta, optim.RMSprop,
         optim.Rprop, optim.ASGD, optim.Adafactor, optim.LBFGS]  # fmt: skip


def trained(kind: Any, shape: tuple[int, int] = (4, 2), steps: int = 2, **settings: Any) -> optim.Optimizer:
    model = nn.Linear(*shape)
    optimizer: optim.Optimizer = kind(model.parameters(), lr=0.1, **settings)

    def loss() -> Any:
        optimizer.zero_grad()
        value = model(torch.ones(3, shape[0])).square().mean()
        value.backward()
        return value

    for _ in range(steps):
        optimizer.step(loss)
    return optimizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_state_fits_an_optimizer_of_its_kind(kind: Any, steps: int):
    saved = copy.deepcopy(trained(kind).state_dict())
    assert optimizer_mismatches(trained(kind, steps=steps), saved) == []
    assert optimizer_mismatches(trained(kind), trained(kind, steps=0).state_dict()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_another_kind_does_not(kind: Any):
    for other in KINDS:
        if other is not kind:
            assert optimizer_mismatches(trained(kind, steps=0), trained(other).state_dict()), other


@pytest.mark.parametrize("steps", [0, 2])
def test_moments_of_other_shapes_are_named(steps: int):
    found = optimizer_mismatches(trained(optim.Adam, (2, 4), steps), trained(optim.Adam, (4, 2)).state_dict())
    assert "mismatched: group 0, parameter 0: 'exp_avg': expected (4, 2), found (2, 4)" in found
    assert len(found) == 4


def test_settings_of_another_kind_are_named():
    found = optimizer_mismatches(trained(optim.SGD), trained(optim.Adam).state_dict())
    assert {"missing: group 0: 'momentum'", "unexpected: group 0: 'betas'", "unexpected: group 0: 'eps'"} <= set(found)
    (kind,) = optimizer_mismatches(trained(optim.AdamW), trained(optim.Adam).state_dict())
    assert kind == "mismatched: group 0: 'decoupled_weight_decay': expected True, found False"


def test_other_moments_than_there_are_are_named():
    found = optimizer_mismatches(trained(optim.Adam, amsgrad=True), trained(optim.Adam).state_dict())
    assert found == [f"missing: group 0, parameter {number}: 'max_exp_avg_sq'" for number in (0, 1)]
    found = optimizer_mismatches(trained(optim.Adam), trained(optim.Adam, amsgrad=True).state_dict())
    assert found == [f"unexpected: group 0, parameter {number}: 'max_exp_avg_sq'" for number in (0, 1)]


def test_groups_and_parameters_are_counted():
    saved = trained(optim.Adam).state_dict()
    model = nn.Linear(4, 2)
    two = optim.Adam([{"params": [model.weight]}, {"params": [model.bias]}])
    assert optimizer_mismatches(two, saved) == ["mismatched: expected 2 parameter groups, found 1"]
    one = optim.Adam([model.weight])
    assert optimizer_mismatches(one, saved) == ["mismatched: group 0: expected 1 parameters, found 2"]
    saved["state"][7] = {}
    assert optimizer_mismatches(trained(optim.Adam), saved) == [
        "unexpected: a state of parameter 7, which is in no group"
    ]


@pytest.mark.parametrize("state", [None, [1], {"state": {}}, {"state": 1, "param_groups": []}, {"param_groups": [1]}])
def test_what_is_no_optimizers_state_is_refused(state: Any):
    (found,) = optimizer_mismatches(trained(optim.Adam), state)
    assert "expected an optimizer's state with 'state' and 'param_groups', found " in found


def test_files_of_older_versions_of_torch_fit():
    saved = copy.deepcopy(trained(optim.AdamW).state_dict())
    for key in ("decoupled_weight_decay", "fused", "differentiable", "foreach"):
        saved["param_groups"][0].pop(key)
    optimizer = trained(optim.AdamW, steps=0)
    assert optimizer_mismatches(optimizer, saved) == []
    optimizer.load_state_dict(saved)
    assert optimizer_mismatches(optimizer, saved) == []


def test_what_a_scheduler_or_a_loop_adds_to_the_groups_is_free():
    scheduled = trained(optim.SGD)
    optim.lr_scheduler.OneCycleLR(scheduled, max_lr=0.1, total_steps=5, cycle_momentum=False)
    scheduled.param_groups[0]["seen by my loop"] = 3
    assert optimizer_mismatches(trained(optim.SGD), scheduled.state_dict()) == []
    without = trained(optim.SGD).state_dict()
    scheduled.param_groups[0].pop("seen by my loop")
    assert optimizer_mismatches(scheduled, without) == []
    scheduled.param_groups[0]["scale"] = 2.0
    assert optimizer_mismatches(scheduled, without) == ["missing: group 0: 'scale'"]


def test_parameters_that_have_names_are_told_apart_by_them():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    turned = nn.ModuleDict({"b": model["b"], "a": model["a"]})
    saved = optim.Adam(model.named_parameters()).state_dict()
    assert optimizer_mismatches(optim.Adam(model.named_parameters()), saved) == []
    assert optimizer_mismatches(optim.Adam(turned.parameters()), saved) == []
    (found,) = optimizer_mismatches(optim.Adam(turned.named_parameters()), saved)
    assert found.endswith("expected the parameters ['b.weight', 'a.weight'], found ['a.weight', 'b.weight']")


def test_an_optimizer_of_ones_own_may_keep_what_it_likes():
    class Own(optim.SGD):
        pass

    saved = trained(Own, momentum=0.9).state_dict()
    saved["state"][0]["summed"] = torch.ones(7)
    assert optimizer_mismatches(trained(Own, momentum=0.9), saved) == []
