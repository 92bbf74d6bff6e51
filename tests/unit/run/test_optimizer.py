"""Any optimizer of torch by name, its state by parameter name."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from milepost.errors import OptionsError, StateMismatchError
from milepost.options import OptimizerOptions
from milepost.run.optimizer import (
    NamedOptimizer,
    make_optimizer,
    optimizer_objections,
    optimizers,
    without_compiler,
)


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


def states(kind):
    """Train a little, hand the state over to a second optimizer, train on; return weights and state."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.01)
    for step in range(6):
        if step == 3:
            saved = optimizer.state_dict()
            optimizer = kind(model.parameters(), lr=0.5)
            optimizer.load_state_dict(saved)
        optimizer.zero_grad()
        model(torch.full((4, 3), 1.0 + step)).square().mean().backward()
        optimizer.step()
    return [*model.parameters()], str(optimizer.state_dict())


@pytest.mark.parametrize("name", optimizers())
def test_what_leaves_the_compiler_alone_does_the_same_to_the_bit(name):
    kind = optimizers()[name]
    weights, state = states(without_compiler(kind))
    expected, expected_state = states(kind)
    assert all(a.equal(b) for a, b in zip(weights, expected, strict=True))
    assert state == expected_state


def test_an_optimizer_is_one_of_torchs_and_its_hooks_are_called():
    _, optimizer = trained(steps=0)
    called = []
    optimizer.register_step_post_hook(lambda *_: called.append(True))
    optimizer.step()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert type(optimizer).__name__ == "AdamW"
    assert called == [True]


def test_training_steps_do_not_import_the_compiler():
    code = (
        "import sys, torch\n"
        "from milepost.options import OptimizerOptions\n"
        "from milepost.run.optimizer import NamedOptimizer, make_optimizer\n"
        "model = torch.nn.Linear(3, 2)\n"
        "optimizer = make_optimizer(OptimizerOptions(), model)\n"
        "optimizer.zero_grad()\n"
        "model(torch.ones(4, 3)).sum().backward()\n"
        "optimizer.step()\n"
        "named = NamedOptimizer(optimizer, model)\n"
        "named.load_state_dict(named.state_dict())\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_lists_the_known():
    with pytest.raises(OptionsError, match=r"expected one of .*AdamW.*found 'Adamm'"):
        make_optimizer(OptimizerOptions(name="Adamm"), nn.Linear(1, 1))


def test_a_refused_argument_says_which_optimizer():
    with pytest.raises(OptionsError, match=r"could not make the optimizer 'SGD' with .*betas"):
        make_optimizer(OptimizerOptions(name="SGD", arguments={"betas": [0.9, 0.99]}), nn.Linear(1, 1))


KEY = "architecture.training.optimizer"


def objections(name="AdamW", **arguments):
    options = OptimizerOptions(name=name, arguments=arguments)
    return [
        (found.key.removeprefix(f"{KEY}."), found.text)
        for found in optimizer_objections(options, KEY, torch.device("cpu"))
    ]


@pytest.mark.parametrize("name", optimizers())
def test_nothing_is_said_against_what_can_be_made(name):
    assert objections(name) == []
    trained(name, steps=1)


def test_nothing_is_said_against_arguments_that_are_taken():
    assert objections(betas=[0.9, 0.99], eps=1e-10, amsgrad=True) == []
    assert objections("SGD", momentum=0.9, nesterov=True) == []


def test_a_mistyped_name_is_guessed():
    ((key, text),) = objections("Adamm", betas=3)
    assert key == "name"
    assert text.startswith("expected one of ASGD, Adadelta, Adafactor, Adagrad, Adam, AdamW, ")
    assert text.endswith(", found 'Adamm'; did you mean 'Adam'?")


def test_an_optimizer_that_no_model_can_have_is_not_offered():
    for name in ("LBFGS", "SparseAdam", "Muon", "Optimizer", "lr_scheduler"):
        ((_, text),) = objections(name)
        assert f" {name}," not in text


def test_mistyped_arguments_are_guessed_each_by_itself():
    assert objections(beta=[0.9, 0.99], momentum=0.5, eps=1e-8) == [
        ("arguments.beta", "unknown argument of AdamW; did you mean 'betas'?"),
        (
            "arguments.momentum",
            "unknown argument of AdamW; expected one of betas, eps, amsgrad, maximize, foreach, capturable, "
            "differentiable, fused",
        ),
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("AdamW", {"betas": [2, 0.9]}, "Invalid beta parameter at index 0: 2"),
        ("AdamW", {"betas": [0.9]}, "tuple index out of range"),
        ("AdamW", {"betas": 0.9}, "'float' object is not subscriptable"),
        ("AdamW", {"eps": "small"}, "'<=' not supported between"),
        ("AdamW", {"fused": True, "foreach": True}, "`fused` and `foreach` cannot be `True` together."),
        ("AdamW", {"capturable": True, "fused": False}, "If capturable=True, params and state_steps must be on"),
        ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum"),
        ("SGD", {"momentum": 0.9, "dampening": "half"}, ""),
    ],
)
def test_arguments_that_are_refused_are_found_before_there_is_a_model(name, arguments, reason):
    ((key, text),) = objections(name, **arguments)
    assert key == "arguments"
    assert text.startswith(f"expected arguments that {name} takes, found {arguments}: {reason}")


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
