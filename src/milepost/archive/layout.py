"""The zip wrapper: one canonical form, computed from names, sizes and checksums alone.

Promise: `local_header`, `central_directory` and `tail` are pure functions, so a reader checks every byte of
the wrapper by building it again and comparing. Nothing in the wrapper carries information of its own.
Failure: `parse_tail` and `parse_directory` raise HostileArchiveError or DamagedArchiveError naming the rule.

Source of the structures: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16, 4.5.3; the padding
extra field 0xD935 is the one that Android's zipalign writes. Layout in docs/formats/archive.md.
"""

import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from milepost.archive.digest import ALGORITHM
from milepost.archive.names import MANIFEST, MIMETYPE, reason_against_entry, reason_against_together
from milepost.errors import DamagedArchiveError, HostileArchiveError

ALIGNMENT = 64
FORMAT_VERSION = 1
MIMETYPE_CONTENT = b"application/x-milepost-archive"

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_LOCAL_ZIP64 = struct.Struct("<HHQQ")
_PADDING = struct.Struct("<HHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_CENTRAL_ZIP64 = struct.Struct("<HHQQQ")
_END64 = struct.Struct("<IQHHIIQQQQ")
_LOCATOR = struct.Struct("<IIQI")
_END = struct.Struct("<IHHHHIIH")

_VERSION_NEEDED = 45
_MADE_BY_UNIX = 3 << 8 | 45
_UTF8_NAMES = 0x0800
_ENCRYPTED = 0x0001
_STORED = 0
_TIME, _DATE = 0, 0x0021  # 1980-01-01 00:00, the earliest moment that a zip can say
_REGULAR_FILE_0644 = 0o100644 << 16
_IN_ZIP64 = 0xFFFFFFFF

_COMMENT = re.compile(rb"milepost-archive (\d{4}) blake3 ([0-9a-f]{64})")
COMMENT_BYTES = len("milepost-archive 0001 blake3 ") + 64
TAIL_BYTES = _END64.size + _LOCATOR.size + _END.size + COMMENT_BYTES


@dataclass(frozen=True, slots=True)
class Record:
    """Place one entry: name, size of its data in bytes, CRC-32, offset of its local header."""

    name: str
    size: int
    crc: int
    offset: int

    @property
    def data_offset(self) -> int:
        """Offset of the first byte of data, a multiple of 64."""
        return self.offset + _LOCAL.size + len(self.name.encode()) + _LOCAL_ZIP64.size + _padding_field(self)

    @property
    def end(self) -> int:
        """Offset just after the data, where the next local header begins."""
        return self.data_offset + self.size


def _padding_field(record: Record) -> int:
    start = record.offset + _LOCAL.size + len(record.name.encode()) + _LOCAL_ZIP64.size + _PADDING.size
    return _PADDING.size + -start % ALIGNMENT


def local_header(record: Record) -> bytes:
    """Build the bytes between `record.offset` and `record.data_offset`."""
    name = record.name.encode()
    padding = _padding_field(record)
    return b"".join((
        _LOCAL.pack(0x04034B50, _VERSION_NEEDED, _UTF8_NAMES, _STORED, _TIME, _DATE, record.crc,
                    _IN_ZIP64, _IN_ZIP64, len(name), _LOCAL_ZIP64.size + padding),
        name,
        _LOCAL_ZIP64.pack(0x0001, 16, record.size, record.size),
        _PADDING.pack(0xD935, padding - 4, ALIGNMENT),
        bytes(padding - _PADDING.size),
    ))  # fmt: skip


def central_directory(records: Iterable[Record]) -> bytes:
    """Build the central directory."""
    return b"".join(_central_record(record) for record in records)


def _central_record(record: Record) -> bytes:
    name = record.name.encode()
    return b"".join((
        _CENTRAL.pack(0x02014B50, _MADE_BY_UNIX, _VERSION_NEEDED, _UTF8_NAMES, _STORED, _TIME, _DATE,
                      record.crc, _IN_ZIP64, _IN_ZIP64, len(name), _CENTRAL_ZIP64.size, 0, 0, 0,
                      _REGULAR_FILE_0644, _IN_ZIP64),
        name,
        _CENTRAL_ZIP64.pack(0x0001, 24, record.size, record.size, record.offset),
    ))  # fmt: skip


def tail(count: int, directory_size: int, directory_offset: int, manifest_digest: str) -> bytes:
    """Build everything after the central directory; its length is always `TAIL_BYTES`."""
    comment = f"milepost-archive {FORMAT_VERSION:04d} {ALGORITHM} {manifest_digest}".encode()
    return b"".join((
        _END64.pack(0x06064B50, 44, _MADE_BY_UNIX, _VERSION_NEEDED, 0, 0, count, count,
                    directory_size, directory_offset),
        _LOCATOR.pack(0x07064B50, 0, directory_offset + directory_size, 1),
        _END.pack(0x06054B50, 0, 0, 0xFFFF, 0xFFFF, _IN_ZIP64, _IN_ZIP64, len(comment)),
        comment,
    ))  # fmt: skip


def first_record() -> Record:
    """Place the entry that opens every archive."""
    return Record(MIMETYPE, len(MIMETYPE_CONTENT), zlib.crc32(MIMETYPE_CONTENT), 0)


HEAD = local_header(first_record()) + MIMETYPE_CONTENT
"""The constant first bytes of every archive."""


def parse_comment(end_of_file: bytes) -> tuple[int, str] | None:
    """Read (format version, manifest digest) from the last bytes of a file, or None if they say neither."""
    match = _COMMENT.fullmatch(end_of_file[-COMMENT_BYTES:])
    return (int(match[1]), match[2].decode()) if match else None


def parse_tail(data: bytes, file_size: int) -> tuple[int, int, int]:
    """Read (number of entries, size and offset of the directory) from the last `TAIL_BYTES` of a file."""
    signature, *_, count, _, size, offset = _END64.unpack_from(data)
    if signature != 0x06064B50:
        raise DamagedArchiveError("expected the zip64 end record before the last records, found other bytes")
    if offset + size + TAIL_BYTES != file_size:
        raise DamagedArchiveError(
            f"expected a directory that ends at byte {file_size - TAIL_BYTES}, "
            f"found {size} bytes at offset {offset}: the file was truncated, extended or changed"
        )
    if count * (_CENTRAL.size + _CENTRAL_ZIP64.size) > size:
        raise HostileArchiveError(f"the directory declares {count} entries in {size} bytes")
    return count, size, offset


def parse_directory(data: bytes, count: int, limit: int) -> list[Record]:
    """Read the central directory; its entries must fill the bytes below `limit`, the manifest last."""
    records: list[Record] = []
    position = end = 0
    for _ in range(count):
        record, position = _parse_record(data, position)
        _check_place(record, end, limit)
        records.append(record)
        end = record.end
    _check_names(records)
    if position != len(data) or end != limit:
        raise HostileArchiveError("there are bytes that belong to no entry of the directory")
    return records


def _parse_record(data: bytes, position: int) -> tuple[Record, int]:
    if len(data) - position < _CENTRAL.size:
        raise HostileArchiveError("the directory ends inside a record")
    fields = _CENTRAL.unpack_from(data, position)
    signature, flags, method, crc, name_size, extra_size = (fields[i] for i in (0, 3, 4, 7, 10, 11))
    raw = data[position + _CENTRAL.size : position + _CENTRAL.size + name_size]
    name = raw.decode("utf-8", errors="replace")
    if signature != 0x02014B50:
        raise HostileArchiveError("expected a directory record, found other bytes")
    if flags & _ENCRYPTED:
        raise HostileArchiveError(f"entry {name!r} is encrypted: expected stored entries only")
    if method != _STORED:
        raise HostileArchiveError(f"entry {name!r} is compressed: expected stored entries only")
    reason = "it is not valid Unicode" if name.encode() != raw else reason_against_entry(name)
    if reason:
        raise HostileArchiveError(f"the name of entry {name!r} is refused: {reason}")
    extra = position + _CENTRAL.size + name_size
    if extra_size != _CENTRAL_ZIP64.size or len(data) < extra + extra_size:
        raise HostileArchiveError(f"entry {name!r} lacks the zip64 field that gives its size and offset")
    _, _, size, packed, offset = _CENTRAL_ZIP64.unpack_from(data, extra)
    if packed != size:
        raise HostileArchiveError(f"entry {name!r} declares {packed} bytes stored and {size} bytes unpacked")
    return Record(name, size, crc, offset), extra + extra_size


def _check_place(record: Record, end: int, limit: int) -> None:
    if record.offset < end:
        raise HostileArchiveError(f"entry {record.name!r} overlaps the entry before it")
    if record.offset > end:
        raise HostileArchiveError(f"there are {record.offset - end} unused bytes before entry {record.name!r}")
    if record.end > limit:
        raise HostileArchiveError(f"entry {record.name!r} declares {record.size} bytes, more than the file holds")


def _check_names(records: Sequence[Record]) -> None:
    names = [record.name for record in records]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise HostileArchiveError(f"entry {name!r} occurs twice")
        seen.add(name)
    reason = reason_against_together(names)
    if reason:
        raise HostileArchiveError(f"the names of two entries are refused: {reason}")
    if names[:1] != [MIMETYPE] or names[-1:] != [MANIFEST]:
        raise HostileArchiveError(f"expected {MIMETYPE!r} as the first entry and {MANIFEST!r} as the last")
