"""A recording is a list of operations that computes what the function did, and a text that says which."""

import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from milepost.errors import OptionsError
from milepost.run.recording import Recording


def slope_of(x, y, w):
    """Differentiate twice, split, write in place, and use a constant."""
    with torch.enable_grad():
        weights, inputs = w.detach().requires_grad_(), x.detach().requires_grad_()
        energy = (inputs @ weights).tanh().sum()
        (force,) = torch.autograd.grad(energy, inputs, create_graph=True)
        left, right = torch.split(force, 2)
        loss = (left - y).square().mean() + right.abs().sum() * torch.tensor(0.5)
        (gradient,) = torch.autograd.grad(loss, weights)
    highest, place = force.detach().max(0)
    return [gradient, loss.detach(), highest.add_(1.0), place]


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((4, 3), (2, 3), (3, 5))]


def test_the_list_computes_what_the_function_does_for_other_numbers():
    module = Recording(slope_of, inputs(0)).module()
    for seed in (0, 1):
        expected, found = slope_of(*inputs(seed)), module(*inputs(seed))
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_inputs_that_are_written_to_are_written_to_by_the_list():
    def count(calls, x):
        calls.add_(1)
        return [x * calls]

    module = Recording(count, [torch.zeros(()), torch.ones(2)]).module()
    calls = torch.tensor(4.0)
    assert module(calls, torch.ones(2))[0].tolist() == [5.0, 5.0]
    assert calls.item() == 5.0


def test_a_result_may_be_an_input_and_come_twice():
    module = Recording(lambda x: [x, x + 1, x], [torch.zeros(2)]).module()
    assert [value.tolist() for value in module(torch.ones(2))] == [[1, 1], [2, 2], [1, 1]]


def texts():
    """Record computations that differ in one thing each."""
    plain = [torch.zeros(2, 3), torch.zeros(3)]
    yield "plain", lambda x, y: [x + y], plain
    yield "another operation", lambda x, y: [x - y], plain
    yield "another argument", lambda x, y: [torch.add(x, y, alpha=2)], plain
    yield "another order", lambda x, y: [y + x], plain
    yield "a constant", lambda x, y: [x + torch.ones(3)], plain
    yield "a held constant", (lambda held: lambda x, y: [x + held])(torch.tensor([1.0, 2.0, 3.0])), plain
    yield "a constant of another value", (lambda held: lambda x, y: [x + held])(torch.tensor([1.0, 2.0, 4.0])), plain
    yield "another shape", lambda x, y: [x + y], [torch.zeros(4, 3), torch.zeros(3)]
    yield "another type", lambda x, y: [x + y], [torch.zeros(2, 3).double(), torch.zeros(3).double()]
    yield "another order in memory", lambda x, y: [x + y], [torch.zeros(3, 2).t(), torch.zeros(3)]
    yield "another result", lambda x, y: [x + y, x], plain


def test_the_text_tells_computations_apart():
    found = {name: Recording(function, examples).text() for name, function, examples in texts()}
    assert len(set(found.values())) == len(found), found
    again = {name: Recording(function, examples).text() for name, function, examples in texts()}
    assert again == found


def test_the_text_does_not_depend_on_the_numbers_in_the_inputs():
    assert Recording(slope_of, inputs(0)).text() == Recording(slope_of, inputs(1)).text()


def test_random_numbers_are_drawn_anew_by_the_list():
    module = Recording(lambda x: [nn.functional.dropout(x)], [torch.ones(64)]).module()
    torch.manual_seed(3)
    expected = nn.functional.dropout(torch.ones(64))
    torch.manual_seed(3)
    assert torch.equal(module(torch.ones(64))[0], expected)


LOOKS = {
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool(x.sum() > 0),
    "item": lambda x: x.sum().item(),
    "equal": lambda x: 2 if torch.equal(x, torch.ones(2)) else 3,
    "allclose": lambda x: 2 if torch.allclose(x, torch.ones(2)) else 3,
    "nonzero": lambda x: len(torch.nonzero(x)),
    "unique": lambda x: len(torch.unique(x)),
    "mask": lambda x: len(x[x > 0]),
    "tolist": lambda x: x.tolist()[0],
    "numpy": lambda x: x.numpy()[0],
    "asarray": lambda x: np.asarray(x)[0],
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_function_that_looks_at_numbers_is_refused(look):
    with pytest.raises(
        OptionsError, match=r"expected operations on.*numbers (in|out of) a tensor.*compile: false"
    ) as error:
        Recording(lambda x: [x * look(x)], [torch.ones(2)])
    assert "training step" in str(error.value)


def test_places_may_be_numbers():
    module = Recording(lambda x, places: [x[places]], [torch.zeros(3), torch.tensor([0, 2])]).module()
    assert module(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2, 2]))[0].tolist() == [3.0, 3.0]


@pytest.mark.parametrize("start", [lambda: torch.tensor(0.0), lambda: torch.from_numpy(np.zeros((), np.float32))])
def test_a_sum_that_is_begun_inside_begins_anew_each_time(start):
    """The list holds what it began with, and must not add to that."""

    def total(x):
        found = start()
        for part in x:
            found += part
        return [found]

    module = Recording(total, [torch.zeros(3)]).module()
    assert [module(torch.ones(3))[0].item() for _ in range(3)] == [3.0] * 3


def test_what_is_written_to_later_is_a_constant_as_it_was_before():
    def late(x):
        found = torch.tensor([1.0, 2.0])
        first = found * x
        return [first, found.mul_(10)]

    module = Recording(late, [torch.ones(2)]).module()
    for _ in range(2):
        assert [result.tolist() for result in module(torch.ones(2))] == [[1.0, 2.0], [10.0, 20.0]]


OUTSIDE = torch.zeros(2)


@pytest.mark.parametrize(
    "write", [lambda x: OUTSIDE.add_(x), lambda x: OUTSIDE.view(1, 2).add_(x), lambda x: torch.add(x, x, out=OUTSIDE)]
)
def test_a_function_that_writes_to_what_is_no_input_is_refused(write):
    with pytest.raises(OptionsError, match=r"found one that writes to a tensor .* that is no buffer"):
        Recording(lambda x: [write(x)], [torch.ones(2)])
    assert OUTSIDE.tolist() == [0.0, 0.0]


def test_weights_that_are_reached_past_the_inputs_are_refused():
    """They would be numbers in the list, and never be learned."""
    weight = nn.Parameter(torch.ones(2))
    for reached in (lambda: weight, lambda: weight.data, lambda: weight.detach()[:1]):
        with pytest.raises(OptionsError, match=r"found one on a weight or buffer .* past its parameters"):
            Recording(lambda x, reached=reached: [x * reached()], [torch.ones(2)], [weight])


def test_what_is_made_on_the_way_is_not_kept_meanwhile():
    """A list of operations needs none of it, and a batch that fits into memory uncompiled must fit compiled."""
    alive, made = [], []

    def many(x):
        for _ in range(20):
            x = x + 1
            made.append(weakref.ref(x))
            alive.append(sum(one() is not None for one in made))
        return [x]

    Recording(many, [torch.zeros(4)])
    assert max(alive) < 4


def test_recording_imports_nothing_of_the_compiler():
    program = (
        "import sys, torch\n"
        "from milepost.run.recording import Recording\n"
        "w = torch.ones(3, requires_grad=True)\n"
        "Recording(lambda x: [x.detach().requires_grad_().square().sum().detach()], [torch.ones(3)]).text()\n"
        "sys.exit('torch._dynamo' in sys.modules or 'torch._inductor' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
