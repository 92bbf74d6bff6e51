"""Trees that can be saved, drawn by hypothesis: every notation, type, bit pattern, tie and view; and what equals what.

`described` says everything of a tree that a file must keep, so that two trees are the same if it says the same of both.
"""

import math
import struct
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st

from compat.archives import DTYPES

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
integers = st.integers() | st.integers(-(2**1024) + 1, 2**1024 - 1)
odd_keys = st.sampled_from(
    ["$tensor", "$dict", "$tuple", "$float", "$", "as", "", "a", "b", "a.b", "b~2", "__metadata__"]
)
keys = st.integers(-3, 3) | text | odd_keys
plain = st.none() | st.booleans() | integers | text | st.floats()


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Draw a tensor of any type with any bits, also NaN with a payload, contiguous or not."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 3), max_size=2))
    size = math.prod(shape) * dtype.itemsize
    content = draw(st.binary(min_size=size, max_size=size))
    if not size:
        return torch.empty(0, dtype=torch.uint8).view(dtype).reshape(shape)
    raw = torch.tensor(list(content), dtype=torch.uint8)
    made = (raw & 1 if dtype is torch.bool else raw).view(dtype).reshape(shape)
    return made.t() if len(shape) == 2 and draw(st.booleans()) else made


def _views(tensor: torch.Tensor) -> list[torch.Tensor]:
    """List other names of a tensor's memory: the same view, and views that are others."""
    views = [tensor.detach(), torch.nn.Parameter(tensor, requires_grad=False)]
    if tensor.dim():
        views += [tensor[..., None], tensor[:1]]
    return [*views, tensor.conj()] if tensor.is_complex() else views


@dataclass(frozen=True)
class _Place:
    """Stand for one of the drawn tensors."""

    number: int


places = st.integers(0, 15).map(_Place)
skeletons = st.recursive(
    st.one_of(plain, places, places, places, places),
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=15,
)


@st.composite
def trees(draw: st.DrawFn) -> Any:
    """Draw a tree in which tensors may occur several times, and share memory."""
    drawn = draw(st.lists(tensors(), min_size=1, max_size=3))
    inner = places | skeletons
    whole = skeletons | st.lists(inner, min_size=2, max_size=6) | st.dictionaries(keys, inner, min_size=2, max_size=6)
    return _filled(draw(whole), [*drawn, *(view for tensor in drawn for view in _views(tensor))])


def _filled(value: Any, pool: list[torch.Tensor]) -> Any:
    if isinstance(value, _Place):
        return pool[value.number % len(pool)]
    if isinstance(value, dict):
        return {key: _filled(item, pool) for key, item in value.items()}
    return type(value)(_filled(item, pool) for item in value) if isinstance(value, list | tuple) else value


def described(tree: Any) -> list[Hashable]:
    """Say everything of a tree: types, order, values, each bit of each tensor, and which tensors are one."""
    ties: dict[Hashable, int] = {}
    return _described(tree, ties)


def _described(value: Any, ties: dict[Hashable, int]) -> list[Hashable]:
    if isinstance(value, torch.Tensor):
        number = ties.setdefault(_view(value), len(ties))
        return [("tensor", str(value.dtype), tuple(value.shape), content(value), number)]
    if isinstance(value, dict):
        inner = [x for key, item in value.items() for x in ((type(key), key), *_described(item, ties))]
        return [("dict", len(value)), *inner]
    if isinstance(value, list | tuple):
        return [(type(value), len(value)), *(x for item in value for x in _described(item, ties))]
    if isinstance(value, float):
        return [("float", b"nan" if math.isnan(value) else struct.pack("<d", value))]
    return [(type(value), value)]


def _view(tensor: torch.Tensor) -> Hashable:
    """Return the same for the same view of the same memory; an empty tensor is only itself."""
    if not tensor.numel():
        return id(tensor)
    place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.dtype)
    return (*place, tuple(tensor.shape), tensor.stride(), tensor.is_conj(), tensor.is_neg())


def content(tensor: torch.Tensor) -> bytes:
    """Return every bit of a tensor, row by row."""
    if not tensor.numel():
        return b""
    whole = tensor.detach().resolve_conj().resolve_neg().contiguous()
    whole = torch.view_as_real(whole) if whole.is_complex() else whole
    return whole.as_strided((whole.numel(),), (1,)).view(torch.uint8).numpy().tobytes()
