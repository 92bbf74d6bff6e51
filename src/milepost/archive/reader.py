"""Read an archive lazily; what is read is verified.

Promise: opening reads kilobytes of a file of any size; a tensor's bytes are checked against its digest in the
memory that is handed out. Nothing is unpickled, no code runs, nothing is written.
Failure: the ArchiveError family, naming file, entry and tensor. `verify` returns damages instead of raising.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from milepost.archive import jsontext, layout, tensorfile
from milepost.archive.digest import digest_of
from milepost.archive.manifest import Manifest
from milepost.archive.names import MANIFEST, structure_entry, tensor_entry
from milepost.archive.opening import read_contents
from milepost.archive.source import Source
from milepost.archive.tree import Tree, decode
from milepost.errors import (
    ArchiveError,
    DamagedArchiveError,
    HostileArchiveError,
    NotAnArchiveError,
    UnsupportedVersionError,
)

if TYPE_CHECKING:
    import torch

_Result = TypeVar("_Result")
_DIGESTS_DIFFER = re.compile(r"(header: )?expected digest [0-9a-f]{64}, found [0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Damage:
    """Name one damaged place: the entry, the tensor in it if it is one, and what is wrong."""

    entry: str
    tensor: str | None
    reason: str

    @property
    def place(self) -> str:
        """The entry, and the tensor in it if it is one."""
        return self.entry if self.tensor is None else f"{self.entry}, tensor '{self.tensor}'"

    @property
    def digests_differ(self) -> bool:
        """Tell whether bytes are not those that were written, rather than against a rule of the format."""
        return _DIGESTS_DIFFER.fullmatch(self.reason) is not None

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class TensorRow:
    """Describe a stored tensor: safetensors dtype (`F32`, …), stored shape, size in bytes, BLAKE3 digest."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class TensorName:
    """Stand for a tensor in an outline: its name in the component's table, and the dtype noted for it if any."""

    name: str
    note: str | None


class Archive:
    """An open archive; use it as a context manager."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._source = _guarded(self.path, lambda: Source(path))
        with ExitStack() as opened:
            opened.callback(self._source.close)
            contents = _guarded(self.path, lambda: read_contents(self._source))
            opened.pop_all()  # it is an archive: the file stays open until `close`
        self.manifest: Manifest = contents.manifest
        self._records = contents.records

    @classmethod
    def open(cls, path: Path | str) -> "Archive":
        """Open `path`, reading and checking its directory and manifest only.

        Raises NotAnArchiveError, UnsupportedVersionError, DamagedArchiveError or HostileArchiveError; OSError
        where the file cannot be read.
        """
        return cls(path)

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Trees that were read stay valid."""
        self._source.close()

    @property
    def digest(self) -> str:
        """`blake3:<64 hexadecimal digits>` of the manifest: it identifies the archive and all its content."""
        return self.manifest.digest

    def names(self) -> tuple[str, ...]:
        """Return the names of all entries, in the order of the file."""
        return tuple(self._records)

    def file(self, name: str) -> bytes:
        """Return the content of an entry, verified."""
        if name not in self._records or name == MANIFEST:
            raise ArchiveError(
                f"could not read '{name}' of '{self.path}': it contains {', '.join(self.manifest.entries)}. "
                "Ask for one of these."
            )
        return _guarded(self.path, lambda: self._entry(name), f"could not read '{name}' of")

    def tree(self, component: str, *, device: "torch.device | str" = "cpu", verify: bool = True) -> Tree:
        """Return a component as it was written, its tensors in memory of their own on `device`.

        Every tensor is checked against its digest unless `verify` is false; structure and header always are.
        Tied tensors come back as one tensor. `requires_grad` is false.

        Raises DamagedArchiveError naming the damaged tensor.
        """
        self._check_component(component)
        return _guarded(
            self.path,
            lambda: self._tree(component, device, verify),
            f"could not load component '{component}' of",
        )

    def tensor_table(self, component: str) -> list[TensorRow]:
        """Describe a component's stored tensors in the order of their data; reads the header only."""
        self._check_component(component)
        stored, _ = _guarded(self.path, lambda: self._tensors(component), f"could not list '{component}' of")
        digests = self._digests(component)
        return [TensorRow(t.name, t.dtype, t.shape, t.end - t.begin, digests[t.name]) for t in stored]

    def outline(self, component: str) -> Tree:
        """Return a component with a `TensorName` in the place of each tensor; reads the structure only."""
        self._check_component(component)
        return _guarded(
            self.path,
            lambda: decode(self._structure(component), TensorName),
            f"could not load component '{component}' of",
        )

    def tensor_reader(self, component: str) -> "Callable[[TensorName], torch.Tensor]":
        """Return a function that reads one tensor that the component's outline names, verified, and no other."""
        self._check_component(component)
        intention = f"could not load component '{component}' of"
        stored, base = _guarded(self.path, lambda: self._tensors(component), intention)
        by_name, digests = {tensor.name: tensor for tensor in stored}, self._digests(component)

        def read(wanted: TensorName) -> "torch.Tensor":
            from milepost.archive.tensors import from_stored

            place, what = by_name[wanted.name], f"{tensor_entry(component)}, tensor '{wanted.name}'"
            fill = _Filler(self._source, base + place.begin, what, digests[wanted.name])
            return _guarded(self.path, lambda: from_stored(place, wanted.note, fill), intention)

        return read

    def verify(self) -> list[Damage]:
        """Read every byte; return each damage found, an empty list for a sound file."""
        damages = list(self._damaged_entries())
        if damages:
            return damages
        for component in self.manifest.components:
            try:
                self._check_references(component)
            except ValueError as error:
                damages.append(Damage(structure_entry(component), None, str(error)))
        return damages

    def _check_component(self, component: str) -> None:
        if component not in self.manifest.components:
            found = ", ".join(self.manifest.components) or "none"
            raise ArchiveError(
                f"could not load component '{component}' of '{self.path}': its components are {found}. "
                "Ask for one of these."
            )

    def _entry(self, name: str) -> bytes:
        """Return an entry's bytes; for tensors this is checked by its digests."""
        record, entry = self._place(name), self.manifest.entries[name]
        if entry.tensors is not None:
            damages = list(self._damaged_tensors(name))
            if damages:
                raise DamagedArchiveError(str(damages[0]))
            return self._source.read(record.data_offset, record.size)
        data = self._source.read(record.data_offset, record.size)
        _compare(name, entry.digest, digest_of(data))
        return data

    def _place(self, name: str) -> layout.Record:
        """Return where an entry lies, having checked its local header and padding."""
        record = self._records[name]
        expected = layout.local_header(record)
        if self._source.read(record.offset, len(expected)) != expected:
            raise DamagedArchiveError(f"{name}: its local zip header is not the one that was written")
        return record

    def _structure(self, component: str) -> Any:
        return jsontext.loads(self._entry(structure_entry(component)))

    def _digests(self, component: str) -> dict[str, str]:
        entry = self.manifest.entries.get(tensor_entry(component))
        return dict(entry.tensors or {}) if entry else {}

    def _tensors(self, component: str) -> tuple[list[tensorfile.StoredTensor], int]:
        """Return the stored tensors and where their data begin in the file."""
        name = tensor_entry(component)
        entry = self.manifest.entries.get(name)
        if entry is None:
            return [], 0
        record = self._place(name)
        first = self._source.read(record.data_offset, min(8, record.size))
        try:
            size = tensorfile.header_size(first, record.size)
        except ValueError as error:
            raise DamagedArchiveError(f"{name}: {error}") from None
        header = self._source.read(record.data_offset, size)
        _compare(f"{name}, header", entry.digest, digest_of(header))
        stored = tensorfile.parse_header(header, record.size)
        names, listed = {tensor.name for tensor in stored}, set(entry.tensors or ())
        if names != listed:
            raise ValueError(f"{name}: header and manifest disagree about the tensors {sorted(names ^ listed)[:5]}")
        return stored, record.data_offset + size

    def _tree(self, component: str, device: "torch.device | str", verify: bool) -> Tree:
        from milepost.archive.fetching import fetch

        structure = self._structure(component)
        stored, base = self._tensors(component)
        digests = self._digests(component)
        notes: dict[str, str | None] = {}

        def fill(place: tensorfile.StoredTensor, buffer: memoryview) -> None:
            what, expected = f"{tensor_entry(component)}, tensor '{place.name}'", digests[place.name]
            _Filler(self._source, base + place.begin, what, expected if verify else None)(buffer)

        def take_note(name: str, note: str | None) -> None:
            if notes.setdefault(name, note) != note:
                raise ValueError(f"tensor '{name}' is noted as two different dtypes")

        _check_used(structure, {place.name for place in stored})
        decode(structure, take_note)
        loaded = fetch(stored, notes, fill, device)
        return decode(structure, lambda name, note: loaded[name])

    def _check_references(self, component: str) -> None:
        _check_used(self._structure(component), set(self._digests(component)))

    def _damaged_entries(self) -> Iterator[Damage]:
        for name in self._records:
            try:
                if name == MANIFEST:
                    self._place(name)
                elif self.manifest.entries[name].tensors is None:
                    self._entry(name)
                else:
                    yield from self._damaged_tensors(name)
            except ValueError as error:
                yield Damage(name, None, str(error).removeprefix(f"{name}: ").removeprefix(f"{name}, "))

    def _damaged_tensors(self, name: str) -> Iterator[Damage]:
        component = name.removesuffix(".safetensors")
        stored, base = self._tensors(component)
        digests = self._digests(component)
        for tensor in stored:
            found = self._source.hash_range(base + tensor.begin, tensor.end - tensor.begin)
            if found != digests[tensor.name]:
                yield Damage(name, tensor.name, f"expected digest {digests[tensor.name]}, found {found}")


@dataclass(frozen=True, slots=True)
class _Filler:
    """Read one tensor's bytes into memory and check them there."""

    source: Source
    offset: int
    what: str
    expected: str | None

    def __call__(self, buffer: memoryview) -> None:
        if self.expected is None:
            self.source.read_into(self.offset, buffer)
        else:
            _compare(self.what, self.expected, self.source.hash_into(self.offset, buffer))


def kind_of(path: Path | str) -> str | None:
    """Return the kind of archive that `path` is by its content, or None if it is none.

    Raises the other ArchiveErrors for an archive that is damaged, hostile or too new; OSError if it is
    unreadable.
    """
    try:
        with Archive.open(path) as archive:
            return archive.manifest.kind
    except NotAnArchiveError:
        return None


def _check_used(structure: Any, stored: set[str]) -> None:
    used: set[str] = set()
    decode(structure, lambda name, note: used.add(name))
    if used != stored:
        raise ValueError(f"structure and tensors disagree about {sorted(used ^ stored)[:5]}")


def _compare(what: str, expected: str, found: str) -> None:
    if expected != found:
        raise DamagedArchiveError(f"{what}: expected digest {expected}, found {found}")


_ADVICE: dict[type[ArchiveError], str] = {
    NotAnArchiveError: "Give the path of a file that Milepost wrote.",
    DamagedArchiveError: "Use an earlier file or another copy.",
    HostileArchiveError: "Do not use this file; get it again from a source that you trust.",
}


def _guarded(path: Path, read: Callable[[], _Result], intention: str = "could not open") -> _Result:
    """Say in every error what was attempted, on which file, and what to do."""
    try:
        return read()
    except UnsupportedVersionError as error:
        raise UnsupportedVersionError(f"{intention} '{path}': {error}") from error  # it says itself what to install
    except ValueError as error:
        kind = type(error) if isinstance(error, ArchiveError) else HostileArchiveError
        raise kind(f"{intention} '{path}': {error}. {_ADVICE[kind]}") from error
