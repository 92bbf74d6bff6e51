"""Described tensors are read into memory (see also `test_torchzip`, `test_distributed`, `test_arrays`)."""

from pathlib import Path

import pytest
import torch

from milepost.checkpoint.foreign.leaves import ChunkedTensor, InlineTensor, Leaf, Storage, StridedTensor
from milepost.checkpoint.foreign.memory import Memory
from milepost.checkpoint.foreign.window import Extent, Files


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    (tmp_path / "f").write_bytes(b"before" + torch.arange(12.0).numpy().tobytes())
    return Storage(Extent(tmp_path / "f", 6, 48), "float32")


def load(*leaves: Leaf) -> list[torch.Tensor]:
    with Files().reading() as files:
        memory = Memory(files)
        return [memory.load(leaf) for leaf in leaves]


def test_a_view_is_that_part_of_the_storage(storage: Storage) -> None:
    (found,) = load(StridedTensor(storage, "float32", (2, 2), 1, (6, 2)))
    assert found.tolist() == [[1.0, 3.0], [7.0, 9.0]]


def test_views_share_the_memory_of_their_storage(storage: Storage) -> None:
    one, two = load(*(StridedTensor(storage, "float32", (3,), offset, (1,)) for offset in (0, 1)))
    one[1] = 50.0
    assert two[0] == 50.0


def test_one_leaf_is_one_tensor(storage: Storage) -> None:
    leaf = storage.viewed()
    one, two = load(leaf, leaf)
    assert one is two


def test_another_dtype_than_the_storage_s(storage: Storage) -> None:
    (found,) = load(StridedTensor(storage, "int32", (1,), 1, (1,)))
    assert found.tolist() == [0x3F800000]


def test_empty_tensors_read_nothing(tmp_path: Path) -> None:
    missing = Storage(Extent(tmp_path / "missing", 0, 0), "float32")
    inline = InlineTensor("int8", (0,), b"")
    found = load(StridedTensor(missing, "float32", (2, 0), 0, (1, 1)), inline)
    assert [(item.dtype, tuple(item.shape)) for item in found] == [(torch.float32, (2, 0)), (torch.int8, (0,))]


def test_conjugates_and_negatives_are_carried_out(storage: Storage) -> None:
    found = load(
        StridedTensor(storage, "complex64", (1,), 1, (1,), conjugate=True),
        StridedTensor(storage, "float32", (1,), 3, (1,), negative=True),
    )
    assert [item.tolist() for item in found] == [[2 - 3j], [-3.0]]


def test_column_major_arrays_are_turned() -> None:
    (found,) = load(InlineTensor("uint8", (2, 3), bytes([0, 1, 2, 3, 4, 5]), columns=True))
    assert found.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found.is_contiguous()


def test_pieces_are_put_together(storage: Storage) -> None:
    left, right = (StridedTensor(storage, "float32", (2, 2), offset, (4, 1)) for offset in (0, 2))
    (found,) = load(ChunkedTensor("float32", (2, 4), (((0, 0), left), ((0, 2), right))))
    assert found.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
