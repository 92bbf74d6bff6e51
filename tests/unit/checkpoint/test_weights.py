"""Weights alone are loaded strictly, and nothing else is touched."""

import pytest
import torch
from torch import nn

from milepost.checkpoint import CheckpointRecord, load_weights, save_checkpoint
from milepost.errors import ArchiveError, StateMismatchError


@pytest.fixture
def saved(tmp_path):
    model = nn.Linear(3, 2)
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"model": model, "position": {"step": 4}}, record=CheckpointRecord(step=4))
    return model, path


def test_the_weights_arrive_and_the_record_comes_back(saved):
    model, path = saved
    other = nn.Linear(3, 2)
    assert load_weights(path, other).step == 4
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(other.bias, model.bias)


def test_a_module_that_does_not_fit_is_left_as_it_was(saved):
    _, path = saved
    other = nn.Linear(3, 4)
    before = other.weight.clone()
    with pytest.raises(StateMismatchError) as raised:
        load_weights(path, other)
    assert str(raised.value) == (
        f"could not load the weights of '{path}' into Linear:\n"
        "  mismatched: 'weight': expected float32 (4, 3), found float32 (2, 3)\n"
        "  mismatched: 'bias': expected float32 (4,), found float32 (2,)\n"
        "Build the module as it was built for the checkpoint, or name another component."
    )
    assert torch.equal(other.weight, before)


def test_an_unknown_component_is_named(saved):
    _, path = saved
    with pytest.raises(ArchiveError, match=r"component 'ema' of .*: its components are model, position"):
        load_weights(path, nn.Linear(3, 2), component="ema")
