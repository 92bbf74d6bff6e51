"""Write an archive in one pass, holding at most one tensor's copy beside the caller's.

Promise: the same arguments give the same bytes; the file appears whole or not at all (see `commit`).
Failure: UnsavableError before anything is written, OverwriteError, CommitError.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from milepost.archive import jsontext, layout, tensorfile
from milepost.archive.commit import Durability, atomic_write
from milepost.archive.digest import chunks, digest_of, named, new_hasher
from milepost.archive.filesystem import FileSystem
from milepost.archive.manifest import Entry, Manifest, manifest_bytes
from milepost.archive.names import (
    MANIFEST,
    MIMETYPE,
    RESERVED,
    reason_against_component,
    reason_against_entry,
    structure_entry,
    tensor_entry,
)
from milepost.archive.tree import Encoder, Tree
from milepost.errors import UnsavableError

_CRC_OFFSET = 14  # of the CRC-32 within a local header


def write_archive(
    path: Path | str,
    *,
    kind: str,
    components: Mapping[str, Tree],
    files: Mapping[str, bytes] = MappingProxyType({}),
    manifest: Mapping[str, Any] = MappingProxyType({}),
    durability: Durability = "power",
    overwrite: bool = False,
    filesystem: FileSystem | None = None,
) -> Manifest:
    """Write `components` and `files` into one archive and publish it under `path`.

    Each component is a tree (see `Tree`); its tensors may be on any device and of any strides, and tensors
    that are one view of one memory are stored once. `manifest` holds the writer's own keys, returned as
    `Manifest.extra`. Durability and overwriting are those of `atomic_write`.

    Raises UnsavableError naming the value that has no place in an archive, before any file is touched.
    """
    plan = [_Planned(MIMETYPE, layout.MIMETYPE_CONTENT), *_plan_components(components), *_plan_files(files)]
    _check_unique(plan)
    draft = Manifest(kind, tuple(sorted(components)), {}, dict(manifest))
    manifest_bytes(draft)  # fail before the file is touched
    written: list[Manifest] = []
    atomic_write(
        path,
        lambda stream: written.append(_write(stream, plan, draft)),
        durability=durability,
        overwrite=overwrite,
        filesystem=filesystem,
    )
    return written[0]


@dataclass(frozen=True, slots=True)
class _Planned:
    """One entry to write: its first bytes, then its tensors in order."""

    name: str
    head: bytes
    tensors: tuple[tuple[tensorfile.StoredTensor, Any], ...] | None = None

    @property
    def size(self) -> int:
        return len(self.head) + (self.tensors[-1][0].end if self.tensors else 0)


def _plan_components(components: Mapping[str, Tree]) -> Iterator[_Planned]:
    for name in sorted(components):
        reason = reason_against_component(name)
        if reason:
            raise UnsavableError(f"could not save component {name!r}: {reason}. Rename it.")
        encoder = Encoder(name)
        structure = encoder.encode(components[name])
        yield _Planned(structure_entry(name), _document(structure_entry(name), structure))
        if encoder.tensors:
            placed = tensorfile.place((n, dtype, shape) for n, (dtype, shape) in encoder.forms.items())
            header = tensorfile.build_header(placed)
            _check_length(tensor_entry(name), header)
            yield _Planned(tensor_entry(name), header, tuple((t, encoder.tensors[t.name]) for t in placed))


def _plan_files(files: Mapping[str, bytes]) -> Iterator[_Planned]:
    for name in sorted(files):
        reason = reason_against_entry(name) or ("it belongs to the format" if name in RESERVED else None)
        if reason:
            raise UnsavableError(f"could not save file {name!r}: {reason}. Rename it.")
        yield _Planned(name, bytes(files[name]))


def _check_unique(plan: list[_Planned]) -> None:
    names = [planned.name for planned in plan]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnsavableError(f"could not save the files {twice}: components have entries of these names. Rename them.")


def _document(name: str, value: Any) -> bytes:
    return _check_length(name, jsontext.dumps_compact(value))


def _check_length(name: str, data: bytes) -> bytes:
    if len(data) > jsontext.MAX_DOCUMENT_BYTES:
        raise UnsavableError(
            f"could not save '{name}': expected at most {jsontext.MAX_DOCUMENT_BYTES} bytes of JSON, "
            f"found {len(data)}. Put large sequences of numbers into tensors."
        )
    return data


def _write(stream: BinaryIO, plan: list[_Planned], draft: Manifest) -> Manifest:
    records: list[layout.Record] = []
    entries: dict[str, Entry] = {}
    for planned in plan:
        record, entries[planned.name] = _write_entry(stream, planned, records[-1].end if records else 0)
        records.append(record)
    manifest = Manifest(draft.kind, draft.components, MappingProxyType(entries), MappingProxyType(draft.extra))
    text = _check_length(MANIFEST, manifest_bytes(manifest))
    record, entry = _write_entry(stream, _Planned(MANIFEST, text), records[-1].end)
    records.append(record)
    directory = layout.central_directory(records)
    stream.write(directory)
    stream.write(layout.tail(len(records), len(directory), record.end, entry.digest))
    return replace(manifest, digest=named(entry.digest))


def _write_entry(stream: BinaryIO, planned: _Planned, offset: int) -> tuple[layout.Record, Entry]:
    """Write one entry; its checksum is known last and put into the local header afterwards."""
    record = layout.Record(planned.name, planned.size, zlib.crc32(planned.head), offset)
    stream.write(layout.local_header(record))
    stream.write(planned.head)
    if planned.tensors is None:
        return record, Entry(record.size, record.crc, digest_of(planned.head))
    crc = record.crc
    digests: dict[str, str] = {}
    for stored, tensor in planned.tensors:
        digests[stored.name], crc = _write_tensor(stream.write, tensor, crc)
    stream.seek(offset + _CRC_OFFSET)
    stream.write(struct.pack("<I", crc))
    stream.seek(record.end)
    record = layout.Record(record.name, record.size, crc, offset)
    return record, Entry(record.size, crc, digest_of(planned.head), MappingProxyType(digests))


def _write_tensor(write: Callable[[memoryview], object], tensor: Any, crc: int) -> tuple[str, int]:
    from milepost.archive.tensors import data_of

    data = data_of(tensor)
    hasher = new_hasher(len(data))
    for chunk in chunks(data):
        hasher.update(chunk)
        crc = zlib.crc32(chunk, crc)
        write(chunk)
    return hasher.hexdigest(), crc
