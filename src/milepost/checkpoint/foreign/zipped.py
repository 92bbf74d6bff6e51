"""The directory of a zip file, and its stored entries, for files that other programs wrote.

Promise: no entry is decompressed; an entry's data lie inside the file, before the directory, and overlap no other
entry's. Nothing is unpacked, and names that would leave a folder are refused nevertheless.
Failure: ForeignFileError with the rule that is broken; `read_directory` returns None for what is not a zip file.

Source of the records: PKWARE's APPNOTE 6.3.10, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from milepost.checkpoint.foreign.window import Extent, Window
from milepost.errors import ForeignFileError

_END = struct.Struct("<4s4H2IH")
_END_SIGNATURE = b"PK\x05\x06"
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_RECORD = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_MAX_COMMENT = 0xFFFF
_MAX_DIRECTORY = 256 * 2**20
_ENCRYPTED = 0x2041  # flags of encryption, strong encryption and masked headers
_FULL = 0xFFFFFFFF
_STORED = 0


@dataclass(frozen=True, slots=True)
class Member:
    """One entry as the directory describes it; `room` is where the next thing in the file begins."""

    name: str
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    offset: int
    room: int = 0


def read_directory(window: Window) -> dict[str, Member] | None:
    """Return the entries by name, in the order of the directory; None where no end record is."""
    place = _find_end(window)
    if place is None:
        return None
    count, size, offset, end = place
    if size > _MAX_DIRECTORY or count * _RECORD.size > size or offset + size > end:
        raise ForeignFileError(f"the zip directory states {count} entries in {size} bytes at byte {offset}: impossible")
    rows = _records(window.read(offset, size), count)
    members: dict[str, Member] = {}
    bounds = sorted(row.offset for row in rows)
    if len(set(bounds)) != len(bounds):
        raise ForeignFileError("two zip entries overlap: they begin at the same byte")
    following = dict(zip(bounds, [*bounds[1:], offset], strict=False))
    for row in rows:
        member = replace(row, room=following[row.offset])
        _check_member(member, offset)
        if member.name in members:
            raise ForeignFileError(f"the zip entry {member.name!r} occurs twice")
        members[member.name] = member
    return members


def locate(window: Window, member: Member) -> Extent:
    """Return where a stored entry's data lie, having compared its local header with the directory."""
    header = window.read(member.offset, _LOCAL.size)
    signature, _, flags, method, _, _, crc, compressed, size, length, extra = _LOCAL.unpack(header)
    name = window.read(member.offset + _LOCAL.size, length)
    if signature != b"PK\x03\x04" or _text(name) != member.name:
        raise ForeignFileError(f"the zip entry {member.name!r} has another local header than the directory states")
    if method != member.method or (flags ^ member.flags) & _ENCRYPTED:
        raise ForeignFileError(f"the zip entry {member.name!r}: its two headers disagree about how it is stored")
    stated = [(crc, member.crc), (compressed, member.compressed), (size, member.size)]
    if any(local not in (0, _FULL, listed) for local, listed in stated):
        raise ForeignFileError(f"the zip entry {member.name!r}: its two headers disagree about its size or checksum")
    if member.method != _STORED:
        raise ForeignFileError(f"the zip entry {member.name!r} is compressed, which no tensor file of PyTorch is")
    begin = member.offset + _LOCAL.size + length + extra
    if begin + member.size > member.room:
        raise ForeignFileError(f"the zip entry {member.name!r} overlaps what follows it")
    # PyTorch writes 0 where it was told not to compute checksums.
    return window.extent(begin, member.size, member.crc or None)


def read_member(window: Window, members: Mapping[str, Member], name: str, limit: int) -> bytes:
    """Return a stored entry's data, compared with its checksum."""
    if name not in members:
        raise ForeignFileError(f"the zip entry {name!r} is missing")
    if members[name].size > limit:
        raise ForeignFileError(f"the zip entry {name!r}: expected at most {limit} bytes, found {members[name].size}")
    extent = locate(window, members[name])
    data = window.read(extent.offset - window.begin, extent.size)
    check_crc(extent, zlib.crc32(data), name)
    return data


def check_crc(extent: Extent, found: int, what: str) -> None:
    """Raise ForeignFileError unless `found` is the checksum that the file states, if it states one."""
    if extent.crc is not None and extent.crc != found:
        raise ForeignFileError(f"{what} is damaged: expected CRC-32 {extent.crc:08x}, found {found:08x}")


def _check_member(member: Member, directory: int) -> None:
    if member.flags & _ENCRYPTED:
        raise ForeignFileError(f"the zip entry {member.name!r} is encrypted")
    if member.method == _STORED and member.compressed != member.size:
        raise ForeignFileError(
            f"the zip entry {member.name!r} lies about its size: {member.size} bytes stored in {member.compressed}"
        )
    least = member.offset + _LOCAL.size + len(member.name.encode()) + member.compressed
    if least > directory:
        raise ForeignFileError(f"the zip entry {member.name!r} states more bytes than the file has")
    if least > member.room:
        raise ForeignFileError(f"the zip entry {member.name!r} overlaps what follows it")
    segments = member.name.split("/")
    if member.name.startswith("/") or ".." in segments or "\\" in member.name or not member.name.isprintable():
        raise ForeignFileError(f"the zip entry {member.name!r} has a path that leaves the archive")


def _find_end(window: Window) -> tuple[int, int, int, int] | None:
    """Return number of entries, size and offset of the directory, and where the end records begin."""
    if window.size < _END.size:
        return None
    length = min(window.size, _END.size + _MAX_COMMENT)
    base = window.size - length
    tail = window.read(base, length)
    at = tail.rfind(_END_SIGNATURE, 0, length - _END.size + len(_END_SIGNATURE))
    if at < 0:
        return None
    _, disk, first, here, count, size, offset, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != length or disk != first or here != count:
        raise ForeignFileError("the end of the zip file is not as its end record states: it is truncated or extended")
    place = base + at
    locator = window.read(place - _LOCATOR.size, _LOCATOR.size) if place >= _LOCATOR.size else b""
    if locator.startswith(b"PK\x06\x07"):
        return _find_end64(window, locator, place - _LOCATOR.size)
    return count, size, offset, place


def _find_end64(window: Window, locator: bytes, place: int) -> tuple[int, int, int, int]:
    _, disk, at, _ = _LOCATOR.unpack(locator)
    if at + _END64.size > place:
        raise ForeignFileError(f"the zip64 locator points at byte {at}, which is not before byte {place}")
    signature, _, _, _, here, first, entries, count, size, offset = _END64.unpack(window.read(at, _END64.size))
    if signature != b"PK\x06\x06" or disk or here or first or entries != count:
        raise ForeignFileError("the zip64 end record is not one")
    return count, size, offset, at


def _records(data: bytes, count: int) -> list[Member]:
    rows: list[Member] = []
    at = 0
    for _ in range(count):
        if at + _RECORD.size > len(data):
            raise ForeignFileError("the zip directory ends within an entry")
        fields = _RECORD.unpack_from(data, at)
        signature, _, _, flags, method, _, _, crc, compressed, size, length, extra, comment = fields[:13]
        end = at + _RECORD.size + length + extra + comment
        if signature != b"PK\x01\x02" or end > len(data):
            raise ForeignFileError("the zip directory has an entry that is not one")
        name = _text(data[at + _RECORD.size : at + _RECORD.size + length])
        field = data[at + _RECORD.size + length : at + _RECORD.size + length + extra]
        size, compressed, offset = _wide(field, (size, compressed, fields[16]), name)
        rows.append(Member(name, flags, method, crc, compressed, size, offset))
        at = end
    if at != len(data):
        raise ForeignFileError("the zip directory has bytes after its last entry")
    return rows


def _wide(extra: bytes, values: tuple[int, int, int], name: str) -> tuple[int, int, int]:
    """Replace each value that did not fit into 32 bits by the one in the zip64 field."""
    if _FULL not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == 1:
            break
        at += 4 + length
    found = list(values)
    at += 4
    for index, value in enumerate(values):
        if value == _FULL:
            if at + 8 > len(extra):
                raise ForeignFileError(f"the zip entry {name!r} lacks its zip64 sizes")
            (found[index],) = struct.unpack_from("<Q", extra, at)
            at += 8
    return found[0], found[1], found[2]


def _text(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise ForeignFileError(f"the zip entry {name!r} has a name that is not UTF-8") from None
