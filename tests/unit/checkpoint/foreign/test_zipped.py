"""The directory of zip files is read as `zipfile` writes it; what lies is refused (see also `tests/attacks`)."""

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from attacks.assembly import with_field
from milepost.checkpoint.foreign.window import Files, Window
from milepost.checkpoint.foreign.zipped import locate, read_directory, read_member
from milepost.errors import ForeignFileError

Make = Callable[[bytes], Window]
ENTRIES = {"a/one": b"first", "a/two": b"", "a/ü": b"x" * 100}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in ENTRIES.items():
            file.writestr(name, data)
        file.comment = b"a comment"
    return path


def test_entries_are_found_where_they_are(archive: Path) -> None:
    with Files().reading() as files:
        window = files.whole(archive)
        members = read_directory(window)
        assert members is not None
        assert {name: read_member(window, members, name, 1000) for name in members} == ENTRIES
        extent = locate(window, members["a/one"])
    assert archive.read_bytes()[extent.offset : extent.offset + extent.size] == b"first"
    assert extent.crc == zlib.crc32(b"first")


def zip64(extra: bytes) -> bytes:
    """Give a zip file whose sizes and offset are in the zip64 field of its one record, after another field."""
    data, name = b"data", b"a/b"
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 45, 0, 0, 0, 0, zlib.crc32(data), 4, 4, len(name), 0) + name
    field = struct.pack("<2H", 7, 2) + b"xx" + extra
    full = 0xFFFFFFFF
    record = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 45, 45, 0, 0, 0, 0, zlib.crc32(data), full, full, len(name),
                         len(field), 0, 0, 0, 0, full)  # fmt: skip
    directory = record + name + field
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(local) + len(data), 0)
    return local + data + directory + end


def test_sizes_of_zip64_are_read(window: Make) -> None:
    found = window(zip64(struct.pack("<2H3Q", 1, 24, 4, 4, 0)))
    members = read_directory(found) or {}
    assert read_member(found, members, "a/b", 10) == b"data"


@pytest.mark.parametrize("extra", [b"", struct.pack("<2H2Q", 1, 16, 4, 4), struct.pack("<2H", 9, 60000)])
def test_missing_sizes_of_zip64_are_refused(extra: bytes, window: Make) -> None:
    with pytest.raises(ForeignFileError, match="the zip entry 'a/b' lacks its zip64 sizes"):
        read_directory(window(zip64(extra)))


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_huge_sizes_of_zip64_are_refused(value: int, window: Make) -> None:
    with pytest.raises(ForeignFileError, match="the zip entry 'a/b' states more bytes than the file has"):
        read_directory(window(zip64(struct.pack("<2H3Q", 1, 24, value, value, 0))))


@pytest.mark.parametrize("data", [b"", b"PK", b"no zip file at all, but a longer text"])
def test_other_files_have_no_directory(data: bytes, window: Make) -> None:
    assert read_directory(window(data)) is None


def test_a_directory_of_nothing(window: Make) -> None:
    assert read_directory(window(b"PK\x05\x06" + bytes(18))) == {}


def test_entries_have_a_limit(archive: Path) -> None:
    with Files().reading() as files:
        window = files.whole(archive)
        members = read_directory(window) or {}
        with pytest.raises(ForeignFileError, match="the zip entry 'a/ü': expected at most 99 bytes, found 100"):
            read_member(window, members, "a/ü", 99)
        with pytest.raises(ForeignFileError, match="the zip entry 'a/b' is missing"):
            read_member(window, members, "a/b", 99)


def test_damaged_data_are_noticed(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes().replace(b"first", b"fjrst"))
    with Files().reading() as files:
        window = files.whole(archive)
        members = read_directory(window) or {}
        with pytest.raises(ForeignFileError, match=r"a/one is damaged: expected CRC-32 \w{8}, found \w{8}"):
            read_member(window, members, "a/one", 99)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data + b"x", "the end of the zip file is not as its end record states"),
        (lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03"), "the zip directory has an entry that is not one"),
        (lambda data: data.replace(b"PK\x03\x04", b"PK\x03\x05"), "another local header than the directory states"),
        (lambda data: data.replace(b"a/one", b"a\\one"), "has a path that leaves the archive"),
        (lambda data: data.replace(b"a/one", b"a/\xffne"), "has a name that is not UTF-8"),
    ],
)
def test_what_is_wrong_is_refused(change: Callable[[bytes], bytes], reason: str, archive: Path) -> None:
    archive.write_bytes(change(archive.read_bytes()))
    with Files().reading() as files:
        window = files.whole(archive)
        with pytest.raises(ForeignFileError, match=reason):
            read_member(window, read_directory(window) or {}, "a/one", 99)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (4, 8, "its two headers disagree about how it is stored"),
        (7, 1, "its two headers disagree about its size or checksum"),
        (16, 2**31, "states more bytes than the file has"),
        (10, 2**15, "the zip directory has an entry that is not one"),
    ],
)
def test_a_lying_record_is_refused(field: int, value: int, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/one", b"first")
    with_field(path, 0, field, value)
    with Files().reading() as files:
        window = files.whole(path)
        with pytest.raises(ForeignFileError, match=reason):
            read_member(window, read_directory(window) or {}, "a/one", 99)
