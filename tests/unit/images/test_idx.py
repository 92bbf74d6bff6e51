"""IDX files are read whole or refused by name, compressed or not."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from image_files import idx, labels, numbered, write_idx
from milepost.errors import DataError
from milepost.images.idx import content_digest, read_bytes, read_idx


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize("array", [numbered(3), labels(7), numbered(2).reshape(2, 1, 4, 5)])
def test_what_was_written_is_read(tmp_path: Path, name: str, array: np.ndarray) -> None:
    path = write_idx(tmp_path / name, array)
    assert np.array_equal(read_idx(path, read_bytes(path)), array)


def test_a_compressed_file_has_the_digest_of_what_it_holds(tmp_path: Path) -> None:
    plain, compressed = write_idx(tmp_path / "a", labels(9)), write_idx(tmp_path / "a.gz", labels(9))
    assert content_digest(read_bytes(plain)) == content_digest(read_bytes(compressed))
    assert content_digest(b"a") != content_digest(b"b")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"\x89PNG", "89 50 4e 47"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "00 00 0d 01"),
        (b"\0\0\x08\x00", "00 00 08 00"),
        (b"\0\0\x08\x09" + bytes(36), "00 00 08 09"),
    ],
)
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    with pytest.raises(DataError, match="expected an IDX file of unsigned bytes") as error:
        read_idx(tmp_path / "x", content)
    assert f"found {found}. Name another file." in str(error.value)
    assert str(tmp_path / "x") in str(error.value)


@pytest.mark.parametrize(
    ("content", "expected", "found"),
    [
        (idx(numbered(3))[:-1], "76 bytes for 3 × 4 × 5", 75),
        (idx(numbered(3)) + b"\0", "76 bytes for 3 × 4 × 5", 77),
        (idx(numbered(3))[:10], "16 bytes before the data", 10),
        (b"\0\0\x08\x03" + b"\xff" * 12 + bytes(8), "79228162458924105385300197391 bytes", 24),
    ],
)
def test_a_file_of_another_size_is_refused(tmp_path: Path, content: bytes, expected: str, found: int) -> None:
    with pytest.raises(DataError, match="Get the file again") as error:
        read_idx(tmp_path / "x", content)
    assert f"expected {expected}" in str(error.value)
    assert f"found {found}." in str(error.value)


@pytest.mark.parametrize("damage", [lambda b: b[:-5], lambda b: b[:20] + b"\xff\xff" + b[22:], lambda b: b[:2] + b"x"])
def test_a_damaged_compression_is_refused(tmp_path: Path, damage) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(damage(gzip.compress(idx(numbered(50)), mtime=0)))
    with pytest.raises(DataError, match=r"x\.gz': expected a whole file compressed by gzip"):
        read_bytes(path)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"could not read '{tmp_path}': Is a directory"):
        read_bytes(tmp_path)
