"""Compare trees bit for bit."""

from typing import Any

import torch


def assert_same(found: Any, expected: Any, place: str = "") -> None:
    """Compare values and types; tensors by dtype, shape, strides and every bit."""
    if isinstance(expected, torch.Tensor):
        assert type(found) is torch.Tensor, place
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), place
        assert not found.requires_grad, place
        assert bits(found) == bits(expected), place
    elif isinstance(expected, dict):
        assert type(found) is dict, place
        assert list(found) == list(expected), place
        for key, value in expected.items():
            assert_same(found[key], value, f"{place}.{key}")
    elif isinstance(expected, list | tuple):
        assert type(found) is (tuple if isinstance(expected, tuple) else list), place
        assert len(found) == len(expected), place
        for index, value in enumerate(expected):
            assert_same(found[index], value, f"{place}.{index}")
    else:
        assert type(found) is type(expected), place
        assert found == expected, place


def bits(tensor: torch.Tensor) -> bytes:
    """Return the elements as bytes, row-major."""
    plain = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes()
