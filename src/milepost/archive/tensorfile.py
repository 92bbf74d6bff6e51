"""The header of a safetensors entry, written and read without torch.

Promise: `build_header` gives bytes that the safetensors library accepts and that put the data at a multiple
of 64; `parse_header` accepts only headers whose tensors fill the data exactly, each byte once.
Failure: `parse_header` raises ValueError with the rule that is broken.

Source of the format: https://huggingface.co/docs/safetensors, section "Format".
"""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from milepost.archive import jsontext

# Bytes per element of every dtype that an archive may hold.
DTYPE_BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
METADATA_KEY = "__metadata__"
_LENGTH = struct.Struct("<Q")
_DATA_ALIGNMENT = 64
_MAX_RANK = 64
_MAX_COUNT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Describe one tensor of an entry: its data are bytes `begin` to `end` of the data part."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def place(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> list[StoredTensor]:
    """Order (name, dtype, shape) by falling element size, then name, and place them without gaps.

    This order keeps every tensor aligned to its own element size.
    """
    ordered = sorted(tensors, key=lambda tensor: (-DTYPE_BYTES[tensor[1]], tensor[0]))
    placed: list[StoredTensor] = []
    begin = 0
    for name, dtype, shape in ordered:
        end = begin + DTYPE_BYTES[dtype] * math.prod(shape)
        placed.append(StoredTensor(name, dtype, shape, begin, end))
        begin = end
    return placed


def build_header(tensors: Iterable[StoredTensor]) -> bytes:
    """Build the length and the JSON header, padded with spaces so that the data begin at a multiple of 64."""
    table = {
        tensor.name: {
            "dtype": tensor.dtype,
            "shape": tensor.shape,
            "data_offsets": (tensor.begin, tensor.end),
        }
        for tensor in tensors
    }
    text = jsontext.dumps_compact(table)
    text += b" " * (-(_LENGTH.size + len(text)) % _DATA_ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def header_size(first_bytes: bytes, entry_size: int) -> int:
    """Return the size of length and header together, from the first 8 bytes of the entry."""
    if len(first_bytes) < _LENGTH.size:
        raise ValueError(f"expected at least {_LENGTH.size} bytes, found {len(first_bytes)}")
    (length,) = _LENGTH.unpack_from(first_bytes)
    limit = min(entry_size - _LENGTH.size, jsontext.MAX_DOCUMENT_BYTES)
    if length > limit:
        raise ValueError(f"the header declares {length} bytes where at most {limit} can be")
    return _LENGTH.size + length


def parse_header(header: bytes, entry_size: int) -> list[StoredTensor]:
    """Read the tensors in the order of their data."""
    table = jsontext.loads(header[_LENGTH.size :])
    if not isinstance(table, dict):
        raise ValueError("expected a JSON object as header")
    fields = cast(dict[str, Any], table)
    tensors = [_tensor(name, row) for name, row in fields.items() if name != METADATA_KEY]
    tensors.sort(key=lambda tensor: (tensor.begin, tensor.end))
    end = 0
    for tensor in tensors:
        if tensor.begin != end:
            problem = "overlaps the tensor before it" if tensor.begin < end else "leaves a gap before it"
            raise ValueError(f"tensor {tensor.name!r} {problem}: expected begin {end}, found {tensor.begin}")
        end = tensor.end
    if end != entry_size - len(header):
        raise ValueError(f"the tensors cover {end} bytes of {entry_size - len(header)}")
    return tensors


def _tensor(name: str, row: Any) -> StoredTensor:
    fields: dict[str, Any] = cast(dict[str, Any], row) if isinstance(row, dict) else {}
    if set(fields) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r}: expected dtype, shape and data_offsets, found {sorted(fields)}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise ValueError(f"tensor {name!r}: the dtype {dtype!r} is not one of {', '.join(DTYPE_BYTES)}")
    if not _are_sizes(shape) or len(shape) > _MAX_RANK or math.prod(max(n, 1) for n in shape) > _MAX_COUNT:
        raise ValueError(f"tensor {name!r}: the shape {shape!r} is not one that a tensor can have")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name!r}: expected two data_offsets, found {offsets!r}")
    expected = DTYPE_BYTES[dtype] * math.prod(shape)
    if offsets[1] - offsets[0] != expected:
        raise ValueError(f"tensor {name!r}: expected {expected} bytes, found {offsets[1] - offsets[0]}")
    return StoredTensor(name, dtype, tuple(shape), offsets[0], offsets[1])


def _are_sizes(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    return all(type(n) is int and 0 <= n <= _MAX_COUNT for n in cast(list[Any], value))
