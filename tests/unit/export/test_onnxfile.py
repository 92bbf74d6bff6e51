"""Metadata of an ONNX file, found and added without a library for the format; files are told by their fields."""

import os
from pathlib import Path

import pytest

from milepost.errors import ArchiveError, DamagedArchiveError, ExportError
from milepost.export import ExportRecord, attach_record, check_whole, onnxfile, read_record
from milepost.export.onnxfile import add_metadata, find_metadata, is_onnx, is_unchanged, seal
from milepost.export.record import damages

LONG = "Å" * 10_000


def number(value: int) -> bytes:
    """Write a number of less than 2²¹ in groups of seven bits."""
    if value < 128:
        return bytes([value])
    return bytes([value & 127 | 128]) + number(value >> 7)


def sized(field: int, content: bytes) -> bytes:
    return number(field << 3 | 2) + number(len(content)) + content


def varint(field: int, value: int) -> bytes:
    return number(field << 3) + number(value)


def entry(key: str, value: bytes) -> bytes:
    return sized(14, sized(1, key.encode()) + sized(2, value))


MODEL = varint(1, 10) + sized(2, b"producer") + sized(7, bytes(300)) + sized(8, varint(2, 18))


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_what_is_added_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", MODEL)
    add_metadata(path, "first", "one")
    add_metadata(path, "second", LONG)
    assert find_metadata(path, "first") == "one"
    assert find_metadata(path, "second") == LONG
    assert find_metadata(path, "third") is None
    assert path.read_bytes() == MODEL + entry("first", b"one") + entry("second", LONG.encode())


def test_entries_of_others_stay(tmp_path: Path) -> None:
    """Also when they stand before the graph, and one that has a key but no value."""
    path = write(tmp_path / "model.onnx", entry("theirs", b"1") + sized(14, sized(1, b"alone")) + MODEL)
    add_metadata(path, "ours", "2")
    assert [find_metadata(path, key) for key in ("theirs", "alone", "ours")] == ["1", "", "2"]


def test_a_key_is_added_once(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", MODEL + entry("key", b"1"))
    with pytest.raises(ExportError, match="expected no entry 'key', found one"):
        add_metadata(path, "key", "2")


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", MODEL + entry("key", b"1") + entry("key", b"2"))
    with pytest.raises(ArchiveError, match="expected one entry 'key' in its metadata, found 2"):
        find_metadata(path, "key")


def test_an_entry_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", MODEL + entry("key", b"\xff"))
    with pytest.raises(ArchiveError, match="its metadata 'key' is no text"):
        find_metadata(path, "key")


OTHERS = {
    "nothing": b"",
    "text": b"architecture: {name: mlp}\n",
    "a zip file": b"PK\x03\x04" + bytes(100),
    "no graph": varint(1, 10) + sized(2, b"producer"),
    "no version": sized(7, bytes(10)),
    "a field of another type": varint(1, 10) + varint(7, 10),
    "an unknown field": MODEL + sized(99, b"x"),
    "cut off in a field": MODEL[:-1],
    "cut off in a length": MODEL + b"\x3a",
    "a length beyond the end": MODEL + sized(14, b"")[:-1] + number(10_000),
    "a number without an end": varint(1, 10) + b"\xff" * 20,
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_file_is_no_onnx(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "model.onnx", OTHERS[name])
    assert not is_onnx(path)
    assert find_metadata(path, "key") is None
    with pytest.raises(ExportError, match="expected an ONNX file, found another one"):
        add_metadata(path, "key", "value")


def test_more_fields_than_any_model_has_are_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.onnx", MODEL)
    monkeypatch.setattr(onnxfile, "MOST_FIELDS", 4)
    assert is_onnx(path)
    monkeypatch.setattr(onnxfile, "MOST_FIELDS", 3)
    assert not is_onnx(path)


def test_an_entry_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "model.onnx", MODEL + entry("key", b"123"))
    monkeypatch.setattr(onnxfile, "LARGEST_ENTRY", 9)
    assert find_metadata(path, "key") is None


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    """A graph of 3 GB, all of it a hole: what would be read of it would be zeros, and take seconds."""
    path = tmp_path / "model.onnx"
    size = 3 * 10**9
    length, rest = [], size
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    path.write_bytes(varint(1, 10) + bytes([7 << 3 | 2, *length, rest]))
    os.truncate(path, path.stat().st_size + size)
    assert is_onnx(path)
    with pytest.raises(ExportError, match="expected at most 2 GiB"):
        add_metadata(path, "key", "value")


def test_the_record_of_an_export_is_metadata(tmp_path: Path) -> None:
    record = ExportRecord("onnx", "blake3:00", "run", 3, {"name": "some"}, {"classes": ["Å"]}, {}, {})
    path = write(tmp_path / "model.x", MODEL)
    attach_record(path, record)
    assert read_record(path) == record
    with pytest.raises(ExportError, match="expected no entry 'milepost', found one"):
        attach_record(path, record)


def test_a_file_is_unchanged_only_as_it_was_sealed(tmp_path: Path) -> None:
    """One bit anywhere is noticed, also in the digest itself; and bytes that are lost or added."""
    path = write(tmp_path / "model.onnx", MODEL)
    assert not is_unchanged(path)
    seal(path)
    whole = path.read_bytes()
    assert whole.startswith(MODEL)
    assert is_onnx(path)
    assert is_unchanged(path)
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        assert not is_unchanged(write(path, bytes(changed))), position
    for content in (whole[:-1], whole + b"\0", whole[1:], b""):
        assert not is_unchanged(write(path, content))


def test_a_record_is_sealed_and_damage_is_said(tmp_path: Path) -> None:
    record = ExportRecord("onnx", "blake3:00", "run", 3, {"name": "some"}, {}, {}, {})
    path = write(tmp_path / "model.onnx", MODEL)
    attach_record(path, record)
    assert damages(path) == []
    check_whole(path)
    write(path, path.read_bytes().replace(b"producer", b"producen"))
    assert damages(path) == ["the file: its digest is not that of its bytes"]
    assert read_record(path) == record, "what it says of itself can be shown all the same"
    with pytest.raises(DamagedArchiveError, match="expected the bytes that its digest is of, found others"):
        check_whole(path)


def test_other_formats_hold_no_digest(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pt", b"PK")
    assert damages(path) is None
    check_whole(path)
