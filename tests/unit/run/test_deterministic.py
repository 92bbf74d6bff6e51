"""Every operation computes the same bits each time, whatever the threads do; settings are put back."""

import pytest
import torch
import torch.utils.deterministic

from milepost.run.deterministic import same_bits_every_time

CPU = torch.device("cpu")
ENOUGH = 4000
"""Rows of 64 numbers: torch lets threads share the work from 32,768 numbers on."""


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradients(times):
    """Collect the gradients of rows that many threads add to at once."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(5, 64, generator=generator, requires_grad=True)
    rows, factors = torch.randint(5, (ENOUGH,), generator=generator), torch.randn(ENOUGH, 64, generator=generator)
    found = set()
    for _ in range(times):
        (gradient,) = torch.autograd.grad((weights[rows] * factors).sum(), weights)
        found.add(gradient.numpy().tobytes())
    return found


def test_what_threads_add_up_is_the_same_every_time(two_threads):
    with same_bits_every_time(CPU):
        assert len(gradients(100)) == 1


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("fill", [True, False])
def test_what_was_set_is_set_again(mode, fill, monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", fill)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(mode)
    try:
        with same_bits_every_time(CPU):
            inside = torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory
        assert inside == (2, False)
        assert torch.get_deterministic_debug_mode() == mode
        assert torch.utils.deterministic.fill_uninitialized_memory is fill
    finally:
        torch.set_deterministic_debug_mode(before)


def test_what_has_no_such_way_is_named():
    numbers = torch.zeros(3)
    with (
        pytest.raises(RuntimeError, match="put_ does not have a deterministic implementation"),
        same_bits_every_time(CPU),
    ):
        numbers.put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    numbers.put_(torch.tensor([0]), torch.tensor([1.0]))


def test_an_accelerator_only_warns_of_what_has_no_other_way():
    with same_bits_every_time(torch.device("cuda")):
        assert torch.get_deterministic_debug_mode() == 1
