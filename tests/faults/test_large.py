"""More than 65,535 tensors, more than 65,535 entries, more than 4 GiB: where 16 and 32 bits of a zip file end."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from faults.injection import Unsynced
from milepost.archive import Archive, write_archive
from milepost.errors import DamagedArchiveError

MANY = 2**16 + 10
LONG = 2**32 + 4096


@pytest.mark.slow
def test_more_than_65536_tensors(tmp_path: Path):
    path = tmp_path / "many.ckpt"
    numbers = torch.arange(MANY).float()
    tree = {f"t{number}": value for number, value in enumerate(numbers.clone().unbind())}
    write_archive(path, kind="k", components={"m": tree}, filesystem=Unsynced())
    with Archive.open(path) as archive:
        assert len(archive.tensor_table("m")) == MANY
        assert archive.verify() == []
        loaded = archive.tree("m")
    assert torch.stack([loaded[f"t{number}"] for number in range(MANY)]).equal(numbers)


@pytest.mark.slow
def test_more_than_65536_entries(tmp_path: Path):
    path = tmp_path / "many.ckpt"
    files = {f"source/{number}.py": b"%d" % number for number in range(MANY)}
    write_archive(path, kind="k", components={"m": [1]}, files=files, filesystem=Unsynced())
    with Archive.open(path) as archive:
        assert len(archive.names()) == MANY + 3
        assert archive.file(f"source/{MANY - 1}.py") == b"%d" % (MANY - 1)
        assert archive.verify() == []
    with zipfile.ZipFile(path) as file:
        assert len(file.namelist()) == MANY + 3
        assert file.read(f"source/{MANY - 1}.py") == b"%d" % (MANY - 1)


class Sparse(Unsynced):
    """Leave holes where zeros are written, so that a long file takes no room."""

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if len(data) < 2**20 or np.frombuffer(data, np.uint8).any():
            return super().write(descriptor, data)
        self.seek(descriptor, len(data), io.SEEK_CUR)
        return len(data)


@pytest.mark.slow
def test_a_file_of_more_than_4_gib(tmp_path: Path):
    path = tmp_path / "long.ckpt"
    components = {"first": {"long": torch.zeros(LONG, dtype=torch.uint8)}, "second": {"w": torch.arange(1000)}}
    write_archive(path, kind="k", components=components, filesystem=Sparse())
    del components
    assert path.stat().st_size > LONG
    assert path.stat().st_blocks * 512 < 2**24, "it has holes"
    with Archive.open(path) as archive:
        assert [row.bytes for row in archive.tensor_table("first")] == [LONG]
        assert archive._records["second.safetensors"].offset > 2**32
        assert archive.tree("second")["w"].equal(torch.arange(1000))
        assert archive.verify() == []
        behind = archive._records["second.safetensors"].end - 8
    with zipfile.ZipFile(path) as file:
        assert file.getinfo("first.safetensors").file_size > LONG
        assert file.read("second.json")
    with path.open("r+b") as stream:
        stream.seek(behind)
        stream.write(b"\1")
    with Archive.open(path) as archive, pytest.raises(DamagedArchiveError, match=r"second.*tensor 'w'"):
        archive.tree("second")
