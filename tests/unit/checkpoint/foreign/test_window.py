"""A window reads what is in it and nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from milepost.checkpoint.foreign.window import Files, Window
from milepost.errors import ForeignFileError

Make = Callable[[bytes], Window]


def open_files() -> int:
    """Count this process's open files."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_parts_of_parts(window: Make) -> None:
    part = window(bytes(range(20))).part(5, 10).part(2, 5)
    assert part.read(1, 3) == bytes([8, 9, 10])
    extent = part.extent(1, 3)
    assert (extent.offset, extent.size) == (8, 3)


@pytest.mark.parametrize(("offset", "size"), [(0, 21), (20, 1), (-1, 2), (0, -1), (2**70, 1)])
def test_nothing_outside_is_read(offset: int, size: int, window: Make) -> None:
    found = window(bytes(20))
    for use in (found.read, found.part, found.extent):
        with pytest.raises(
            ForeignFileError, match=rf"expected {size} bytes at byte {offset}, found the end at byte 20"
        ):
            use(offset, size)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(window: Make) -> None:
    found = window(bytes(20))
    os.truncate(found.path, 10)
    with pytest.raises(ForeignFileError, match="the file became shorter while it was read"):
        found.read(0, 20)


def test_a_file_that_changed_between_two_readings_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    files = Files()
    with files.reading():
        files.whole(tmp_path / "f")
    with files.reading():
        assert files.whole(tmp_path / "f").read(0, 3) == b"abc"
    (tmp_path / "f").write_bytes(b"abcd")
    with files.reading(), pytest.raises(ForeignFileError, match="'f' changed after it was opened; open it again"):
        files.whole(tmp_path / "f")


def test_files_are_closed(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    before = open_files()
    files = Files()
    with files.reading():
        assert files.whole(tmp_path / "f") is files.whole(tmp_path / "f")
        assert open_files() == before + 1
    assert open_files() == before
    assert files.size == 3


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_only_regular_files_are_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x")
    before = open_files()
    with Files().reading() as files, pytest.raises(ForeignFileError, match="expected a regular file"):
        files.whole(tmp_path / "x")
    assert open_files() == before
