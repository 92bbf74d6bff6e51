"""A described tensor lies within its storage (see also `tests/attacks/tensors.py`)."""

from pathlib import Path

import pytest
import torch

from milepost.archive.tensorfile import DTYPE_BYTES
from milepost.checkpoint.foreign.leaves import (
    DTYPES,
    STORAGE_DTYPES,
    ChunkedTensor,
    InlineTensor,
    Storage,
    StridedTensor,
    nbytes,
)
from milepost.checkpoint.foreign.window import Extent
from milepost.errors import ForeignFileError


def test_the_table_of_dtypes_is_that_of_torch_and_of_the_archive() -> None:
    for name, (code, size) in DTYPES.items():
        assert getattr(torch, name).itemsize == size
        assert DTYPE_BYTES.get(code, size) == size
    assert set(DTYPE_BYTES) <= {code for code, _ in DTYPES.values()}
    assert set(STORAGE_DTYPES.values()) <= set(DTYPES)


def storage(size: int) -> Storage:
    return Storage(Extent(Path("x"), 0, size), "float32")


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "size"),
    [((2, 3), (3, 1), 0, 24), ((2, 3), (1, 2), 0, 24), ((3,), (0,), 5, 24), ((), (), 5, 24), ((0, 9), (9, 1), 77, 0)],
)
def test_views_that_fit(shape: tuple[int, ...], stride: tuple[int, ...], offset: int, size: int) -> None:
    assert StridedTensor(storage(size), "float32", shape, offset, stride).shape == shape


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "reason"),
    [
        ((2, 3), (3, 1), 1, "needs 28 bytes of its storage, which has 24"),
        ((2, 3), (4, 1), 0, "needs 28 bytes of its storage, which has 24"),
        ((), (), 6, "needs 28 bytes of its storage, which has 24"),
        ((2,), (1, 1), 0, "expected as many strides as sizes"),
        ((2,), (-1,), 1, "expected no negative offset or stride"),
        ((1,) * 65, (1,) * 65, 0, "is not one that a tensor can have"),
    ],
)
def test_views_that_do_not_fit(shape: tuple[int, ...], stride: tuple[int, ...], offset: int, reason: str) -> None:
    with pytest.raises(ForeignFileError, match=reason):
        StridedTensor(storage(24), "float32", shape, offset, stride)


def test_a_dtype_is_known() -> None:
    with pytest.raises(ForeignFileError, match="found 'bits8'"):
        InlineTensor("bits8", (1,), b"x")


def test_an_array_has_the_bytes_of_its_shape() -> None:
    assert nbytes(InlineTensor("int16", (2,), b"abcd")) == 4
    with pytest.raises(ForeignFileError, match=r"an array of shape \(3,\): expected 6 bytes"):
        InlineTensor("int16", (3,), b"abcd")


def test_pieces_have_the_dtype_of_the_whole() -> None:
    piece = StridedTensor(storage(8), "float32", (2,), 0, (1,))
    assert nbytes(ChunkedTensor("float32", (2,), (((0,), piece),))) == 8
    with pytest.raises(ForeignFileError, match="does not fit its tensor"):
        ChunkedTensor("float64", (2,), (((0,), piece),))
