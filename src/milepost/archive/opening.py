"""Open a file as an archive: the wrapper and the manifest, nothing else.

Promise: reads the first 94 bytes, the directory and the manifest; afterwards every byte of the directory and
of the records behind it is known to be what the manifest implies.
Failure: NotAnArchiveError, UnsupportedVersionError, DamagedArchiveError or HostileArchiveError, with the
rule.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from milepost.archive import jsontext, layout
from milepost.archive.digest import digest_of
from milepost.archive.manifest import Manifest, read_manifest
from milepost.archive.names import MANIFEST
from milepost.archive.source import Source
from milepost.errors import DamagedArchiveError, HostileArchiveError, NotAnArchiveError, UnsupportedVersionError

_MAX_DIRECTORY_BYTES = 64 * 2**20
_WRITER = re.compile(r"milepost ([0-9][0-9A-Za-z.!+]{0,39})")
_SIGNATURES = (
    (b"PK\x03\x04", "a zip file of another program"),
    (b"PK\x05\x06", "an empty zip file"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "a program"),
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What the wrapper and the manifest say."""

    manifest: Manifest
    records: Mapping[str, layout.Record]


def read_contents(source: Source) -> Contents:
    """Read and check wrapper and manifest."""
    version, digest = _identify(source)
    _check_version(version, source, digest)
    end = source.read(source.size - layout.TAIL_BYTES, layout.TAIL_BYTES)
    count, size, offset = layout.parse_tail(end, source.size)
    if size > _MAX_DIRECTORY_BYTES:
        raise HostileArchiveError(f"expected a directory of at most {_MAX_DIRECTORY_BYTES} bytes, found {size}")
    directory = source.read(offset, size)
    records = layout.parse_directory(directory, count, offset)
    manifest = read_manifest(_manifest_text(source, records[-1], digest), source.size)
    _check_agreement(manifest, records)
    rebuilt = layout.central_directory(records) + layout.tail(count, size, offset, digest)
    if rebuilt != directory + end:
        at = next(i for i, (a, b) in enumerate(zip(rebuilt, directory + end, strict=False)) if a != b)
        raise DamagedArchiveError(f"byte {offset + at}, in the zip directory, is not the byte that was written")
    return Contents(manifest, {record.name: record for record in records})


def _check_version(version: int, source: Source, digest: str) -> None:
    if version < 1:
        raise HostileArchiveError(f"expected a format version of 1 or more, found {version}")
    if version > layout.FORMAT_VERSION:
        writer = _writer_of_newer(source, digest)
        install = f"Install milepost >= {writer}, which wrote it." if writer else (
            f"Install a version of milepost that reads format version {version}."
        )  # fmt: skip
        raise UnsupportedVersionError(
            f"expected an archive of format version {layout.FORMAT_VERSION} at most, found {version}. {install}"
        )


def _writer_of_newer(source: Source, digest: str) -> str | None:
    """Name the version that wrote a newer archive, where its manifest is still found and read as in this version."""
    try:
        end = source.read(source.size - layout.TAIL_BYTES, layout.TAIL_BYTES)
        count, size, offset = layout.parse_tail(end, source.size)
        records = layout.parse_directory(source.read(offset, min(size, _MAX_DIRECTORY_BYTES)), count, offset)
        keys = jsontext.loads(_manifest_text(source, records[-1], digest))
    except ValueError:
        return None
    writer = cast(dict[str, Any], keys).get("written_by") if isinstance(keys, dict) else None
    # The file may come from anybody: nothing but a version is repeated to the user.
    found = _WRITER.fullmatch(writer) if isinstance(writer, str) else None
    return found[1] if found else None


def _identify(source: Source) -> tuple[int, str]:
    """Return format version and manifest digest; tell a damaged archive from another kind of file."""
    head = source.read(0, min(source.size, len(layout.HEAD)))
    begins = head == layout.HEAD
    end = source.read(max(source.size - layout.COMMENT_BYTES, 0), min(source.size, layout.COMMENT_BYTES))
    comment = layout.parse_comment(end)
    if comment and begins:
        return comment
    if comment:
        raise DamagedArchiveError("its first bytes are not those of an archive")
    if begins or (4 <= len(head) < len(layout.HEAD) and layout.HEAD.startswith(head)):
        raise DamagedArchiveError("its last bytes are missing or changed: it was truncated, extended or changed")
    if not head:
        raise NotAnArchiveError("it is empty")
    found = next((name for signature, name in _SIGNATURES if head.startswith(signature)), "another format")
    raise NotAnArchiveError(f"expected a Milepost archive, found {found}")


def _manifest_text(source: Source, record: layout.Record, digest: str) -> bytes:
    if record.size > jsontext.MAX_DOCUMENT_BYTES:
        raise HostileArchiveError(
            f"expected a manifest of at most {jsontext.MAX_DOCUMENT_BYTES} bytes, found {record.size}"
        )
    text = source.read(record.data_offset, record.size)
    found = digest_of(text)
    if found != digest:
        raise DamagedArchiveError(f"{MANIFEST}: expected digest {digest}, found {found}")
    if zlib.crc32(text) != record.crc:  # the one number of the directory that the manifest cannot list
        raise DamagedArchiveError(f"the zip directory has another CRC-32 of {MANIFEST} than was written")
    return text


def _check_agreement(manifest: Manifest, records: list[layout.Record]) -> None:
    listed = [(name, entry.size, entry.crc) for name, entry in manifest.entries.items()]
    present = [(record.name, record.size, record.crc) for record in records[:-1]]
    for expected, found in zip(listed, present, strict=False):
        if expected != found:
            raise DamagedArchiveError(
                f"the manifest and the zip directory disagree: expected (entry, size, CRC-32) {expected}, found {found}"
            )
    if len(listed) != len(present):
        raise HostileArchiveError(f"the manifest lists {len(listed)} entries, the zip directory {len(present)}")
