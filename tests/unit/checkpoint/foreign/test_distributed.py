"""Folders of `torch.distributed.checkpoint`."""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from milepost.checkpoint.foreign import ForeignFile, open_foreign
from milepost.errors import ForeignFileError
from unit.checkpoint.foreign.comparing import assert_same
from unit.checkpoint.foreign.objects import trained


def opened(path: Path) -> ForeignFile:
    found = open_foreign(path)
    assert found is not None
    return found


def test_what_the_library_saves_comes_back(tmp_path: Path) -> None:
    net, optimizer = trained()
    state = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "half": torch.ones(2).half()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=tmp_path / "folder", no_dist=True)
    found = opened(tmp_path / "folder")
    assert found.kind == "distributed checkpoint"
    assert found.suspicious == ()
    assert found.metadata["version"] == "1.0.0"
    tree = found.tree()
    assert tree["epoch"] == 3
    for name, value in state["model"].items():
        assert_same(tree[f"model.{name}"], value)
    assert_same(tree["half"], state["half"])
    assert "F16" in {row.dtype for row in found.tensor_table()}


def sharded(folder: Path, pieces: list[tuple[tuple[int, ...], torch.Tensor]], shape: tuple[int, ...]) -> None:
    """Write one tensor in pieces, with the library's own classes, as two processes would."""
    folder.mkdir()
    chunks: list[Any] = []
    places: dict[MetadataIndex, _StorageInfo] = {}
    for number, (offsets, piece) in enumerate(pieces):
        stream = io.BytesIO()
        torch.save(piece, stream)
        (folder / f"__{number}_0.distcp").write_bytes(b"other" + stream.getvalue())
        chunks.append(ChunkStorageMetadata(torch.Size(offsets), piece.shape))
        index = MetadataIndex("w", offsets, number)
        places[index] = _StorageInfo(f"__{number}_0.distcp", 5, len(stream.getvalue()))
    tensor = TensorStorageMetadata(TensorProperties(dtype=torch.float32), torch.Size(shape), chunks)
    metadata = Metadata({"w": tensor}, storage_data=places, version="1.0.0")
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def test_pieces_are_joined(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(4, 3)
    sharded(tmp_path / "folder", [((0, 0), whole[:2].clone()), ((2, 0), whole[2:].clone())], (4, 3))
    found = opened(tmp_path / "folder")
    assert [(row.name, row.dtype, row.shape, row.bytes) for row in found.tensor_table()] == [("w", "F32", (4, 3), 48)]
    assert_same(found.tree(), {"w": whole})


def test_pieces_that_leave_a_gap_are_refused(tmp_path: Path) -> None:
    sharded(tmp_path / "folder", [((0,), torch.ones(2)), ((1,), torch.ones(2))], (4,))
    with pytest.raises(ForeignFileError, match="the pieces of a tensor overlap and leave a gap"):
        opened(tmp_path / "folder").tensors()


def test_pieces_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    sharded(tmp_path / "folder", [((0,), torch.ones(2)), ((3,), torch.ones(2))], (4,))
    with pytest.raises(ForeignFileError, match=r"a piece at \(3,\) does not fit its tensor of shape \(4,\)"):
        open_foreign(tmp_path / "folder")


def test_a_missing_piece_is_refused(tmp_path: Path) -> None:
    sharded(tmp_path / "folder", [((0,), torch.ones(2))], (4,))
    with pytest.raises(ForeignFileError, match="expected 4 elements in the pieces, found 2"):
        open_foreign(tmp_path / "folder")


def test_a_piece_of_another_shape_is_refused(tmp_path: Path) -> None:
    sharded(tmp_path / "folder", [((0,), torch.ones(4))], (4,))
    file = tmp_path / "folder" / "__0_0.distcp"
    stream = io.BytesIO()
    torch.save(torch.ones(2, 2), stream)
    data = b"other" + stream.getvalue()
    size = len(file.read_bytes()) - 5
    assert len(stream.getvalue()) >= size
    metadata = pickle.loads((tmp_path / "folder" / ".metadata").read_bytes())
    index, info = next(iter(metadata.storage_data.items()))
    metadata.storage_data[index] = _StorageInfo(info.relative_path, 5, len(stream.getvalue()))
    (tmp_path / "folder" / ".metadata").write_bytes(pickle.dumps(metadata))
    file.write_bytes(data)
    with pytest.raises(ForeignFileError, match=r"'w': expected a tensor of shape \(4,\) at \(0,\), found something"):
        open_foreign(tmp_path / "folder")


def test_a_missing_file_is_the_system_s_error(tmp_path: Path) -> None:
    sharded(tmp_path / "folder", [((0,), torch.ones(4))], (4,))
    (tmp_path / "folder" / "__0_0.distcp").unlink()
    with pytest.raises(FileNotFoundError):
        open_foreign(tmp_path / "folder")


def test_a_folder_without_metadata_is_no_kind(tmp_path: Path) -> None:
    assert open_foreign(tmp_path) is None
