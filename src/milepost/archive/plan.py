"""What an archive will hold, settled before a byte of it is written.

Promise: a plan keeps no reference to the caller's values but the tensors: everything else is bytes already. Equal
plans give equal files.
Failure: `plan_archive` raises UnsavableError naming the value that has no place in an archive.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from milepost.archive import jsontext, layout, tensorfile
from milepost.archive.manifest import Manifest, manifest_bytes
from milepost.archive.names import (
    MANIFEST,
    MIMETYPE,
    RESERVED,
    reason_against_component,
    reason_against_entry,
    reason_against_together,
    structure_entry,
    tensor_entry,
)
from milepost.archive.tensorfile import StoredTensor
from milepost.archive.tree import Encoder, Tree
from milepost.errors import UnsavableError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class PlannedEntry:
    """One entry to write: its first bytes, then its tensors in order; None where it is no entry of tensors."""

    name: str
    head: bytes
    tensors: "tuple[tuple[StoredTensor, Tensor], ...] | None" = None

    @property
    def size(self) -> int:
        """Bytes of the entry's data."""
        return len(self.head) + (self.tensors[-1][0].end if self.tensors else 0)


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """All entries but the manifest, and the manifest's fields but the entries."""

    entries: tuple[PlannedEntry, ...]
    manifest: Manifest

    def tensors(self) -> "Iterator[tuple[tuple[str, str], Tensor]]":
        """Give every tensor that will be written, each once, under its entry's name and its own."""
        for entry in self.entries:
            for stored, tensor in entry.tensors or ():
                yield (entry.name, stored.name), tensor

    def with_tensors(self, substitute: "Callable[[tuple[str, str]], Tensor]") -> "ArchivePlan":
        """Return a plan that writes `substitute(key)`, of the same dtype and shape, for the tensor of each key."""
        return replace(self, entries=tuple(_substituted(entry, substitute) for entry in self.entries))


def _substituted(entry: PlannedEntry, substitute: "Callable[[tuple[str, str]], Tensor]") -> PlannedEntry:
    if entry.tensors is None:
        return entry
    tensors = tuple((stored, substitute((entry.name, stored.name))) for stored, _ in entry.tensors)
    return replace(entry, tensors=tensors)


def plan_archive(
    *, kind: str, components: Mapping[str, Tree], files: Mapping[str, bytes], manifest: Mapping[str, Any]
) -> ArchivePlan:
    """Settle what `write_archive` will write for these arguments.

    Raises UnsavableError naming the value that has no place in an archive.
    """
    entries = (PlannedEntry(MIMETYPE, layout.MIMETYPE_CONTENT), *_plan_components(components), *_plan_files(files))
    _check_unique(entries)
    fields = Manifest(kind, tuple(sorted(components)), {}, dict(manifest))
    manifest_bytes(fields)  # says what cannot be saved; the copy below is then one of plain values
    return ArchivePlan(entries, replace(fields, extra=copy.deepcopy(fields.extra)))


def _plan_components(components: Mapping[str, Tree]) -> Iterator[PlannedEntry]:
    for name in sorted(components):
        reason = reason_against_component(name)
        if reason:
            raise UnsavableError(f"could not save component {name!r}: {reason}. Rename it.")
        encoder = Encoder(name)
        structure = encoder.encode(components[name])
        document = jsontext.dumps_compact(structure)
        yield PlannedEntry(structure_entry(name), checked_size(structure_entry(name), document))
        if encoder.tensors:
            placed = tensorfile.place((n, dtype, shape) for n, (dtype, shape) in encoder.forms.items())
            header = checked_size(tensor_entry(name), tensorfile.build_header(placed))
            yield PlannedEntry(tensor_entry(name), header, tuple((t, encoder.tensors[t.name]) for t in placed))


def _plan_files(files: Mapping[str, bytes]) -> Iterator[PlannedEntry]:
    for name in sorted(files):
        reason = reason_against_entry(name) or ("it belongs to the format" if name in RESERVED else None)
        if reason:
            raise UnsavableError(f"could not save file {name!r}: {reason}. Rename it.")
        yield PlannedEntry(name, bytes(files[name]))


def _check_unique(entries: tuple[PlannedEntry, ...]) -> None:
    counts = Counter(entry.name for entry in entries)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise UnsavableError(f"could not save the files {twice}: components have entries of these names. Rename them.")
    reason = reason_against_together([*counts, MANIFEST])
    if reason:
        raise UnsavableError(f"could not save two entries: {reason}. Rename one of them.")


def checked_size(name: str, document: bytes) -> bytes:
    """Return `document`, or raise UnsavableError where it says more than a reader may accept."""
    reason = jsontext.reason_against_size(document)
    if reason:
        raise UnsavableError(f"could not save '{name}': {reason}. Put large sequences of numbers into tensors.")
    return document
