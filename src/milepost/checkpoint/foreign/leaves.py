"""Tensors that are described but not yet read, and what a file may claim about them.

Promise: a `StridedTensor` that exists lies within its storage: shape, strides and offset were checked against the
storage's size, as `torch.load` leaves to the allocator. Nothing here reads data or imports torch.
Failure: ForeignFileError with the claim that is impossible.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

from milepost.checkpoint.foreign.window import Extent
from milepost.errors import ForeignFileError

MAX_RANK = 64
MAX_COUNT = 2**63 - 1

# Name in torch: name in a tensor table, bytes per element.
DTYPES: dict[str, tuple[str, int]] = {
    "float64": ("F64", 8), "float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2),
    "int64": ("I64", 8), "int32": ("I32", 4), "int16": ("I16", 2), "int8": ("I8", 1),
    "uint64": ("U64", 8), "uint32": ("U32", 4), "uint16": ("U16", 2), "uint8": ("U8", 1), "bool": ("BOOL", 1),
    "complex128": ("C128", 16), "complex64": ("C64", 8), "complex32": ("C32", 4),
    "float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1), "float8_e4m3fnuz": ("F8_E4M3FNUZ", 1),
    "float8_e5m2fnuz": ("F8_E5M2FNUZ", 1), "float8_e8m0fnu": ("F8_E8M0", 1),
}  # fmt: skip

# Quantized numbers are read as the integers that they are stored as.
STORAGE_DTYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64", "QInt8Storage": "int8", "QInt32Storage": "int32", "QUInt8Storage": "uint8",
    "QUInt4x2Storage": "uint8", "QUInt2x4Storage": "uint8", "UntypedStorage": "uint8",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Bytes in a file that tensors are views of, and the dtype that they were saved with; `swapped` says that its
    numbers have their most significant byte first.
    """

    extent: Extent
    dtype: str
    swapped: bool = False

    @property
    def word(self) -> int:
        """The bytes of which the order is reversed: a number's, of a complex one those of each part."""
        width = DTYPES[self.dtype][1]
        return 1 if not self.swapped else width // 2 if self.dtype.startswith("complex") else width

    def viewed(self) -> "StridedTensor":
        """Return all of it as a tensor of one dimension."""
        count = self.extent.size // DTYPES[self.dtype][1]
        return StridedTensor(self, self.dtype, (count,), 0, (1,))


@dataclass(frozen=True, slots=True, eq=False)
class StridedTensor:
    """A view of a storage: offset and strides count elements."""

    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    offset: int
    stride: tuple[int, ...]
    conjugate: bool = False
    negative: bool = False

    def __post_init__(self) -> None:
        check_shape(self.shape, self.dtype)
        if len(self.stride) != len(self.shape):
            raise ForeignFileError(f"expected as many strides as sizes, found {self.stride} for {self.shape}")
        if self.offset < 0 or any(step < 0 for step in self.stride):
            raise ForeignFileError(f"expected no negative offset or stride, found {self.offset} and {self.stride}")
        if 0 in self.shape:
            return
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        end = (last + 1) * DTYPES[self.dtype][1]
        if end > self.storage.extent.size:
            raise ForeignFileError(
                f"a tensor of shape {self.shape}, strides {self.stride} and offset {self.offset} needs {end} bytes "
                f"of its storage, which has {self.storage.extent.size}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class InlineTensor:
    """An array whose bytes are in the pickle itself, row-major or column-major."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    columns: bool = False

    def __post_init__(self) -> None:
        check_shape(self.shape, self.dtype)
        if len(self.data) != nbytes(self):
            raise ForeignFileError(f"an array of shape {self.shape}: expected {nbytes(self)} bytes, found other")


@dataclass(frozen=True, slots=True, eq=False)
class ChunkedTensor:
    """A tensor stored in pieces: each lies at its offsets, and together they fill it."""

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[tuple[tuple[int, ...], StridedTensor], ...]

    def __post_init__(self) -> None:
        check_shape(self.shape, self.dtype)
        covered = 0
        for offsets, part in self.chunks:
            ends = [begin + n for begin, n in zip(offsets, part.shape, strict=True)]
            if part.dtype != self.dtype or any(end > n for end, n in zip(ends, self.shape, strict=True)):
                raise ForeignFileError(f"a piece at {offsets} does not fit its tensor of shape {self.shape}")
            covered += math.prod(part.shape)
        if covered != math.prod(self.shape):
            raise ForeignFileError(f"expected {math.prod(self.shape)} elements in the pieces, found {covered}")


Leaf: TypeAlias = StridedTensor | InlineTensor | ChunkedTensor
LEAVES = (StridedTensor, InlineTensor, ChunkedTensor)


def check_shape(shape: tuple[int, ...], dtype: str) -> None:
    """Raise ForeignFileError for a shape or dtype that no tensor can have."""
    if dtype not in DTYPES:
        raise ForeignFileError(f"expected a dtype among {', '.join(DTYPES)}, found {dtype[:40]!r}")
    if len(shape) > MAX_RANK or any(n < 0 for n in shape) or math.prod(max(n, 1) for n in shape) > MAX_COUNT:
        raise ForeignFileError(f"the shape {str(shape)[:80]} is not one that a tensor can have")


def nbytes(leaf: Leaf) -> int:
    """Return the bytes of a dense tensor of the leaf's shape and dtype."""
    return math.prod(leaf.shape) * DTYPES[leaf.dtype][1]
