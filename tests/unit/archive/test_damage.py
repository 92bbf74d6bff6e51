"""One changed bit anywhere is seen, and the damaged tensor is named."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from milepost.archive import Archive, kind_of, write_archive
from milepost.errors import ArchiveError, DamagedArchiveError


def is_seen(path: Path) -> bool:
    try:
        with Archive.open(path) as archive:
            return archive.verify() != []
    except ArchiveError:
        return True


def flip(path: Path, offset: int, bit: int = 0) -> None:
    with path.open("r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, offset)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), offset)


def test_a_flipped_bit_at_every_byte_is_seen(small: Path):
    assert not is_seen(small)
    unseen: list[int] = []
    for offset in range(small.stat().st_size):
        bit = offset * 5 % 8
        flip(small, offset, bit)
        if not is_seen(small):
            unseen.append(offset)
        flip(small, offset, bit)
    assert unseen == []
    assert not is_seen(small)


def test_truncation_at_every_byte_is_seen(small: Path):
    assert not is_seen(small)
    for size in reversed(range(small.stat().st_size)):
        os.truncate(small, size)
        assert is_seen(small), size


@pytest.mark.parametrize("added", [b"\0", b"x" * 64, b"PK\x05\x06" + bytes(18)])
def test_bytes_added_at_either_end_are_seen(small: Path, added: bytes):
    content = small.read_bytes()
    for changed in (content + added, added + content):
        small.write_bytes(changed)
        assert is_seen(small)


def test_the_damaged_tensor_is_named_and_the_others_load(small: Path):
    with Archive.open(small) as archive:
        stored, base = archive._tensors("model")
        place = next(tensor for tensor in stored if tensor.name == "weight")
    flip(small, base + place.begin + 5)
    with Archive.open(small) as archive:
        (damage,) = archive.verify()
        assert (damage.entry, damage.tensor) == ("model.safetensors", "weight")
        assert str(damage).startswith("model.safetensors, tensor 'weight': expected digest ")
        with pytest.raises(DamagedArchiveError) as caught:
            archive.tree("model")
        assert f"could not load component 'model' of '{small}'" in str(caught.value)
        assert "model.safetensors, tensor 'weight': expected digest" in str(caught.value)
        assert "Use an earlier file or another copy." in str(caught.value)
        with pytest.raises(DamagedArchiveError, match="tensor 'weight'"):
            archive.file("model.safetensors")
        assert archive.tree("model", verify=False)["bias"].tolist() == [1.0, 1.0]
        assert archive.file("options.yaml") == b"seed: 1\n"


def test_every_damaged_place_is_listed(tmp_path: Path):
    path = tmp_path / "x"
    tree = {"a": torch.zeros(40), "b": torch.zeros(40)}
    write_archive(path, kind="k", components={"m": tree, "n": [1]}, files={"f": b"123"})
    with Archive.open(path) as archive:
        base = archive._tensors("m")[1]
        offsets = [
            base,
            base + 160,
            archive._records["n.json"].data_offset,
            archive._records["f"].offset + 40,
        ]
    for offset in offsets:
        flip(path, offset)
    with Archive.open(path) as archive:
        found = [(damage.entry, damage.tensor) for damage in archive.verify()]
    assert found == [("m.safetensors", "a"), ("m.safetensors", "b"), ("n.json", None), ("f", None)]


def test_a_damaged_structure_is_never_used_even_unverified(small: Path):
    with Archive.open(small) as archive:
        offset = archive._records["model.json"].data_offset
    flip(small, offset + 3)
    with (
        Archive.open(small) as archive,
        pytest.raises(DamagedArchiveError, match=r"model\.json: expected digest"),
    ):
        archive.tree("model", verify=False)


def test_a_file_cut_while_it_is_open_is_an_error(small: Path):
    with Archive.open(small) as archive:
        os.truncate(small, 300)
        with pytest.raises(DamagedArchiveError, match="found its end"):
            archive.tree("model")


def test_a_truncated_archive_is_damaged_and_not_another_kind_of_file(small: Path):
    os.truncate(small, small.stat().st_size - 1)
    with pytest.raises(DamagedArchiveError, match=rf"could not open '{small}': its last bytes are missing"):
        Archive.open(small)
    with pytest.raises(DamagedArchiveError):
        kind_of(small)
    os.truncate(small, 20)
    with pytest.raises(DamagedArchiveError, match="its last bytes are missing"):
        Archive.open(small)


def test_damaged_first_bytes_are_seen_when_it_is_opened(small: Path):
    flip(small, 70)
    with pytest.raises(DamagedArchiveError, match="its first bytes are not those of an archive"):
        Archive.open(small)


def test_a_damaged_manifest_is_named(small: Path):
    with Archive.open(small) as archive:
        offset = archive._records["manifest.json"].data_offset
    flip(small, offset + 10)
    with pytest.raises(DamagedArchiveError, match=r"manifest\.json: expected digest [0-9a-f]{64}, found"):
        Archive.open(small)


def test_a_moved_and_renamed_file_is_the_same(small: Path, tmp_path: Path):
    moved = tmp_path / "elsewhere" / "名前.zip"
    moved.parent.mkdir()
    shutil.move(small, moved)
    with Archive.open(moved) as archive:
        assert archive.verify() == []
        assert archive.tree("model")["step"] == 7
    assert kind_of(moved) == "checkpoint"
