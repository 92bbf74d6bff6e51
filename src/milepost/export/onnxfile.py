"""Find and add the metadata of an ONNX file without loading the program in it.

An ONNX file is one message of Protocol Buffers: fields one after the other, each with its number, its type and, where
it is of any length, that length. So its table of contents is read by leaping from field to field, a few bytes each, and
an entry of metadata is added by writing it behind the last: readers take repeated fields wherever they stand. The
format has no checksums, so the last entry is the digest of all that stands before it.

Promise: kilobytes are read of a file of any size, except for its digest, and nothing in it is run. A file whose fields
are not those of an ONNX model, or don't end where it ends, is another file.

Formats: https://protobuf.dev/programming-guides/encoding; onnx.proto of ONNX 1.23, messages ModelProto and
StringStringEntryProto.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from milepost.archive.digest import CHUNK, named, new_hasher
from milepost.errors import ArchiveError, ExportError

VARINT, SIZED = 0, 2
"""Types of fields: a number in groups of seven bits, or a length and so many bytes."""

IR_VERSION, GRAPH, METADATA = 1, 7, 14
FIELDS = {
    IR_VERSION: VARINT,
    2: SIZED,  # producer_name
    3: SIZED,  # producer_version
    4: SIZED,  # domain
    5: VARINT,  # model_version
    6: SIZED,  # doc_string
    GRAPH: SIZED,
    8: SIZED,  # opset_import
    METADATA: SIZED,
    20: SIZED,  # training_info
    25: SIZED,  # functions
    26: SIZED,  # configuration
}
KEY, VALUE = 1, 2

DIGEST_KEY = "milepost.digest"

LARGEST_FILE = 2**31 - 1
"""Readers of Protocol Buffers refuse longer messages."""

MOST_FIELDS = 10_000
LARGEST_ENTRY = 2**24
LONGEST_VARINT = 10


@dataclass(frozen=True)
class _Field:
    number: int
    start: int
    length: int


def is_onnx(path: Path | str) -> bool:
    """Tell whether a file is an ONNX model. Raises OSError where it can't be read."""
    with Path(path).open("rb") as stream:
        return _fields(stream) is not None


def find_metadata(path: Path | str, key: str) -> str | None:
    """Return the metadata entry of this key; None where there is none, or the file is no ONNX model.

    Raises ArchiveError where there is more than one, or one that is too long or no text; OSError.
    """
    with Path(path).open("rb") as stream:
        found = [entry for entry in _entries(stream, _fields(stream) or []) if entry[0] == key.encode()]
    if not found:
        return None
    if len(found) > 1:
        raise ArchiveError(f"could not open '{path}': expected one entry '{key}' in its metadata, found {len(found)}.")
    try:
        return found[0][1].decode()
    except UnicodeDecodeError as error:
        raise ArchiveError(f"could not open '{path}': its metadata '{key}' is no text: {error}.") from error


def add_metadata(path: Path, key: str, text: str) -> None:
    """Add an entry of metadata to an ONNX file.

    Raises ExportError where the file is none, has an entry of this key already, or would get too long.
    """
    if not is_onnx(path):
        raise ExportError(f"could not describe '{path}': expected an ONNX file, found another one.")
    if find_metadata(path, key) is not None:
        raise ExportError(f"could not describe '{path}': expected no entry '{key}', found one. Export to a new file.")
    entry = _sized(KEY, key.encode()) + _sized(VALUE, text.encode())
    added = _sized(METADATA, entry)
    if path.stat().st_size + len(added) > LARGEST_FILE:
        raise ExportError(
            f"could not export to '{path.name}': expected at most 2 GiB, which is what fits into an ONNX file, found "
            "more. Export a .pt2 file."
        )
    with path.open("ab") as stream:
        stream.write(added)


def seal(path: Path) -> None:
    """Add the digest of the whole file, as its last entry. Raises ExportError as `add_metadata` does."""
    add_metadata(path, DIGEST_KEY, _digest(path, path.stat().st_size))


def is_unchanged(path: Path | str) -> bool:
    """Tell whether a file is as `seal` left it; a file without a digest in its last entry is not."""
    entry = _sized(KEY, DIGEST_KEY.encode()) + _sized(VALUE, _digest(path, 0).encode())
    length = len(_sized(METADATA, entry))
    content = max(0, Path(path).stat().st_size - length)
    sealed = _sized(METADATA, _sized(KEY, DIGEST_KEY.encode()) + _sized(VALUE, _digest(path, content).encode()))
    with Path(path).open("rb") as stream:
        stream.seek(content)
        return stream.read() == sealed


def _digest(path: Path | str, size: int) -> str:
    """Digest the first bytes of a file."""
    hasher = new_hasher(size)
    with Path(path).open("rb") as stream:
        while size > 0 and (data := stream.read(min(size, CHUNK))):
            hasher.update(data)
            size -= len(data)
    return named(hasher.hexdigest())


def _fields(stream: BinaryIO) -> list[_Field] | None:
    """List the fields of the message in a file; None where they are not those of an ONNX model."""
    end = os.fstat(stream.fileno()).st_size
    found = _walked(stream, end, FIELDS)
    numbers = {field.number for field in found or ()}
    return found if {IR_VERSION, GRAPH} <= numbers else None


def _walked(stream: BinaryIO, end: int, known: dict[int, int]) -> list[_Field] | None:
    """Leap from field to field up to `end`; None where a field is none of the known ones."""
    found: list[_Field] = []
    position = stream.tell()
    while position < end:
        tag = _varint(stream)
        value = _varint(stream)
        if tag is None or value is None or known.get(tag >> 3) != tag & 7 or len(found) == MOST_FIELDS:
            return None
        start = stream.tell()
        length = value if tag & 7 == SIZED else 0
        position = start + length
        if position > end:
            return None
        found.append(_Field(tag >> 3, start, length))
        stream.seek(position)
    return found


def _entries(stream: BinaryIO, fields: list[_Field]) -> Iterator[tuple[bytes, bytes]]:
    """Read keys and values of the metadata, other than those that are too long to be meant for us."""
    for field in fields:
        if field.number != METADATA or field.length > LARGEST_ENTRY:
            continue
        stream.seek(field.start)
        parts = _walked(stream, field.start + field.length, {KEY: SIZED, VALUE: SIZED}) or []
        content: dict[int, bytes] = {}
        for part in parts:
            stream.seek(part.start)
            content[part.number] = stream.read(part.length)
        yield content.get(KEY, b""), content.get(VALUE, b"")


def _varint(stream: BinaryIO) -> int | None:
    """Read a number; None where the file ends or it is longer than any."""
    value = 0
    for position in range(LONGEST_VARINT):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << (7 * position)
        if byte[0] < 0x80:
            return value
    return None


def _sized(number: int, content: bytes) -> bytes:
    return _number(number << 3 | SIZED) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """Write a number in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
