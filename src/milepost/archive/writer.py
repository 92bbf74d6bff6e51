"""Write an archive in one pass, holding at most one tensor's copy beside the caller's.

Promise: the same arguments give the same bytes; the file appears whole or not at all (see `commit`).
Failure: UnsavableError before anything is written, OverwriteError, CommitError.
"""

import struct
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from blake3 import blake3

from milepost.archive import layout
from milepost.archive.checksum import crc32
from milepost.archive.commit import Durability, atomic_write
from milepost.archive.digest import chunks, digest_of, named, new_hasher
from milepost.archive.filesystem import FileSystem
from milepost.archive.manifest import Entry, Manifest, manifest_bytes
from milepost.archive.names import MANIFEST
from milepost.archive.plan import ArchivePlan, PlannedEntry, checked_size, plan_archive
from milepost.archive.tree import Tree

_CRC_OFFSET = 14  # of the CRC-32 within a local header
# Handing a chunk to another thread costs what hashing some hundred KiB does.
_THREAD_PAYS_FROM = 2**20


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
    plan = plan_archive(kind=kind, components=components, files=files, manifest=manifest)
    return write_plan(path, plan, durability=durability, overwrite=overwrite, filesystem=filesystem)


def write_plan(
    path: Path | str,
    plan: ArchivePlan,
    *,
    ready: Callable[[tuple[str, str]], None] = lambda key: None,
    durability: Durability = "power",
    overwrite: bool = False,
    filesystem: FileSystem | None = None,
) -> Manifest:
    """Write the archive that was planned, as `write_archive` would.

    `ready` is called with the key of each tensor (see `ArchivePlan.tensors`) before its values are read; it may wait
    for them. What it raises comes out, and nothing is published.
    """
    written: list[Manifest] = []
    atomic_write(
        path,
        lambda stream: written.append(_write(stream, plan, ready)),
        durability=durability,
        overwrite=overwrite,
        filesystem=filesystem,
    )
    return written[0]


def _write(stream: BinaryIO, plan: ArchivePlan, ready: Callable[[tuple[str, str]], None]) -> Manifest:
    records: list[layout.Record] = []
    entries: dict[str, Entry] = {}
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="milepost-checksum") as beside:
        for planned in plan.entries:
            offset = records[-1].end if records else 0
            record, entries[planned.name] = _write_entry(stream, planned, offset, beside, ready)
            records.append(record)
        extra = MappingProxyType(dict(plan.manifest.extra))
        manifest = replace(plan.manifest, entries=MappingProxyType(entries), extra=extra)
        text = checked_size(MANIFEST, manifest_bytes(manifest))
        record, entry = _write_entry(stream, PlannedEntry(MANIFEST, text), records[-1].end, beside, ready)
    records.append(record)
    directory = layout.central_directory(records)
    stream.write(directory)
    stream.write(layout.tail(len(records), len(directory), record.end, entry.digest))
    return replace(manifest, digest=named(entry.digest))


def _write_entry(
    stream: BinaryIO,
    planned: PlannedEntry,
    offset: int,
    beside: Executor,
    ready: Callable[[tuple[str, str]], None],
) -> tuple[layout.Record, Entry]:
    """Write one entry; its checksum is known last and put into the local header afterwards."""
    record = layout.Record(planned.name, planned.size, crc32(planned.head, 0), offset)
    stream.write(layout.local_header(record))
    stream.write(planned.head)
    if planned.tensors is None:
        return record, Entry(record.size, record.crc, digest_of(planned.head))
    crc = record.crc
    digests: dict[str, str] = {}
    for stored, tensor in planned.tensors:
        ready((planned.name, stored.name))
        digests[stored.name], crc = _write_tensor(stream.write, tensor, crc, beside)
    stream.seek(offset + _CRC_OFFSET)
    stream.write(struct.pack("<I", crc))
    stream.seek(record.end)
    record = layout.Record(record.name, record.size, crc, offset)
    return record, Entry(record.size, crc, digest_of(planned.head), MappingProxyType(digests))


def _write_tensor(write: Callable[[memoryview], object], tensor: Any, crc: int, beside: Executor) -> tuple[str, int]:
    """Write a tensor's bytes; return their digest, and the CRC-32 that began with `crc`."""
    from milepost.archive.tensors import data_of

    data = data_of(tensor)
    hasher = new_hasher(len(data))
    for chunk in chunks(data):
        if len(chunk) < _THREAD_PAYS_FROM:
            crc = _checked(hasher, chunk, crc)
            write(chunk)
            continue
        checking = beside.submit(_checked, hasher, chunk, crc)
        write(chunk)
        crc = checking.result()
    return hasher.hexdigest(), crc


def _checked(hasher: blake3, chunk: memoryview, crc: int) -> int:
    hasher.update(chunk)
    return crc32(chunk, crc)
