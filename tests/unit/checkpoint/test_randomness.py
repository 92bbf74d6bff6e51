"""Every global generator draws the same numbers again."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from milepost.checkpoint import CheckpointRecord, RandomState, load_checkpoint, save_checkpoint
from milepost.errors import StateMismatchError, UnsavableError


@pytest.fixture(autouse=True)
def _generators_as_found() -> Iterator[None]:
    before = RandomState().state_dict()
    yield
    RandomState().load_state_dict(before)


def draw() -> list[Any]:
    # gauss and standard_normal keep a second value for the next call, which is state too.
    numbers = [random.random(), random.gauss(0, 1), random.getrandbits(70)]
    numbers += [np.random.random(), np.random.standard_normal(), int(np.random.randint(2**31))]
    return [*numbers, torch.rand(3).tolist(), torch.randn(17).tolist(), torch.randperm(9).tolist()]


@pytest.mark.parametrize("drawn", [0, 1, 2, 700])
def test_a_saved_state_continues_exactly(tmp_path: Path, drawn: int):
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    for _ in range(drawn):
        random.gauss(0, 1), np.random.standard_normal(), torch.randn(1)
    save_checkpoint(tmp_path / "x", {"random": RandomState()}, options_yaml="", record=CheckpointRecord("r", 0))
    expected = [draw(), draw()]
    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    assert draw() != expected[0]
    with load_checkpoint(tmp_path / "x") as checkpoint:
        checkpoint.restore({"random": RandomState()})
    assert [draw(), draw()] == expected


def test_saving_draws_nothing():
    RandomState().state_dict()
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    expected = draw()
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    RandomState().state_dict()
    assert draw() == expected


def test_a_state_without_a_part_is_refused_and_changes_nothing():
    state = RandomState().state_dict()
    expected = [random.random(), torch.rand(1).item()]
    RandomState().load_state_dict(state)
    broken = {name: part for name, part in state.items() if name != "torch"}
    with pytest.raises(StateMismatchError, match=r"expected \['cuda', 'numpy', 'python', 'torch'\], found"):
        RandomState().load_state_dict(broken)
    with pytest.raises(StateMismatchError, match="numpy's random state: expected MT19937, found PCG64"):
        RandomState().load_state_dict(state | {"numpy": {"generator": "PCG64"}})
    assert [random.random(), torch.rand(1).item()] == expected


def test_another_global_generator_of_numpy_is_refused():
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(1))
    try:
        with pytest.raises(UnsavableError, match="expected MT19937, found PCG64"):
            RandomState().state_dict()
    finally:
        np.random.set_bit_generator(before)


def test_states_of_devices_that_are_not_here_are_named():
    state = RandomState().state_dict()
    present = len(state["cuda"])
    state["cuda"] = [*state["cuda"], torch.zeros(16, dtype=torch.uint8)]
    target = RandomState()
    target.load_state_dict(state)
    assert target.unrestored == (f"cuda:{present}",)


@pytest.mark.gpu
def test_cuda_generators_continue_exactly():
    state = RandomState().state_dict()
    expected = torch.rand(5, device="cuda").tolist()
    target = RandomState()
    target.load_state_dict(state)
    assert torch.rand(5, device="cuda").tolist() == expected
    assert target.unrestored == ()
