"""What numpy's arrays and scalars mean in a pickle.

Promise: arrays of numbers become leaves, scalars become Python's numbers; arrays of texts or objects are described.
Failure: ForeignFileError where an array's parts do not fit each other.

Source: the `__reduce__` of `numpy.ndarray`, `numpy.dtype` and `numpy.generic`, and NEP 1 for the names of dtypes
(https://numpy.org/neps/nep-0001-npy-format.html).
"""

import struct
from typing import Any, cast

from milepost.checkpoint.foreign.leaves import DTYPES, MAX_RANK, InlineTensor
from milepost.checkpoint.foreign.nodes import Global, Instance, Node, tuple_of
from milepost.checkpoint.foreign.plain import TEXT_PER_COST, Meaning, Place, Plain, bytes_of
from milepost.errors import ForeignFileError

_DTYPES = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64", "u1": "uint8", "u2": "uint16",
    "u4": "uint32", "u8": "uint64", "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64",
    "c16": "complex128",
}  # fmt: skip
_PACKED = {
    "bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H", "uint32": "I",
    "uint64": "Q", "float16": "e", "float32": "f", "float64": "d",
}  # fmt: skip
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


def _parts(instance: Node) -> tuple[Node, ...]:
    return tuple_of(instance.arguments) if isinstance(instance, Instance) else ()


def _number_dtype(node: Node) -> str | None:
    """Return the name of a little-endian dtype of numbers, None for every other dtype."""
    if not isinstance(node, Instance) or not isinstance(node.callable, Global) or node.callable.full != "numpy.dtype":
        return None
    parts = _parts(node)
    name = parts[0] if parts else None
    state = tuple_of(node.states[-1]) if node.states else ()
    order = state[1] if len(state) > 1 else "|"
    return _DTYPES.get(name) if isinstance(name, str) and order in ("<", "|", "=") else None


def _raw(plain: Plain, node: Node) -> bytes | None:
    # Python 2 wrote bytes as text; those that are valid UTF-8 were decoded.
    raw = node.encode() if isinstance(node, str) else bytes_of(node)
    plain.spend(len(raw or b"") // TEXT_PER_COST)
    return raw


def _array(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean `_reconstruct(ndarray, …)` with the state (version, shape, dtype, column-major, data)."""
    state = tuple_of(instance.states[0]) if len(instance.states) == 1 else ()
    if len(state) != 5:
        return plain.described(instance, place)
    _, shape, dtype, columns, data = state
    return _leaf(plain, instance, place, (shape, dtype, columns is True, data))


def _from_buffer(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean `_frombuffer(data, dtype, shape, order)`, as protocol 5 writes an array."""
    parts = _parts(instance)
    if len(parts) != 4:
        return plain.described(instance, place)
    data, dtype, shape, order = parts
    return _leaf(plain, instance, place, (shape, dtype, order == "F", data))


def _leaf(plain: Plain, instance: Instance, place: Place, parts: tuple[Node, Node, bool, Node]) -> Any:
    shape, dtype, columns, data = parts
    name, raw = _number_dtype(dtype), _raw(plain, data)
    sizes = tuple_of(shape) if isinstance(shape, tuple) else (None,)
    if name is None or raw is None or not _are_sizes(sizes):
        return plain.described(instance, place)
    return InlineTensor(name, cast(tuple[int, ...], sizes), raw, columns)


def _are_sizes(sizes: tuple[Node, ...]) -> bool:
    return len(sizes) <= MAX_RANK and all(type(size) is int for size in sizes)


def _scalar(plain: Plain, instance: Instance, place: Place) -> Any:
    """Mean `scalar(dtype, data)`."""
    parts = _parts(instance)
    name = _number_dtype(parts[0]) if parts else None
    raw = _raw(plain, parts[1]) if len(parts) > 1 else None
    if name not in _PACKED or raw is None:
        return plain.described(instance, place)
    if len(raw) != DTYPES[name][1]:
        raise ForeignFileError(f"a scalar of dtype {name}: expected {DTYPES[name][1]} bytes, found {len(raw)}")
    return struct.unpack(f"<{_PACKED[name]}", raw)[0]


ARRAYS: dict[str, Meaning] = {
    **{f"{module}._reconstruct": _array for module in _MODULES},
    **{f"{module}.scalar": _scalar for module in _MODULES},
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
}
NUMPY_NAMES = frozenset({"numpy.ndarray", "numpy.dtype"})
