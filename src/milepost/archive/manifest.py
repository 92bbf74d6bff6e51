"""The manifest: what an archive contains, and what its writer says about it.

Promise: an immutable view of `manifest.json`, checked field by field.
Failure: `read_manifest` raises HostileArchiveError naming the field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast

from milepost.archive import jsontext
from milepost.archive.digest import ALGORITHM, digest_of, is_digest, named
from milepost.archive.layout import FORMAT_VERSION
from milepost.archive.names import (
    RESERVED,
    reason_against_component,
    reason_against_entry,
    structure_entry,
    tensor_entry,
)
from milepost.archive.tree import Encoder, decode
from milepost.errors import HostileArchiveError, UnsavableError

FORMAT = "milepost-archive"
RESERVED_KEYS = ("format", "format_version", "digest_algorithm", "kind", "components", "entries")


@dataclass(frozen=True, slots=True)
class Entry:
    """Describe one entry: size in bytes, CRC-32, digest.

    The digest covers the whole entry, except for tensors: there it covers the header, and `tensors` gives one
    digest for the data of each tensor, by name.
    """

    size: int
    crc: int
    digest: str
    tensors: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Say what an archive is: its kind, components, entries, and `extra`, the writer's own keys."""

    kind: str
    components: tuple[str, ...]
    entries: Mapping[str, Entry]
    extra: Mapping[str, Any]
    format_version: int = FORMAT_VERSION
    digest: str = ""
    """`blake3:<64 digits>` of `manifest.json`; set once that is written or read."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the entries that belong to no component."""
        own = {name for c in self.components for name in (structure_entry(c), tensor_entry(c))}
        return tuple(name for name in self.entries if name not in own and name not in RESERVED)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Encode the manifest; raises UnsavableError for a writer's key that is reserved or not JSON."""
    taken = [key for key in manifest.extra if key in RESERVED_KEYS]
    if taken:
        raise UnsavableError(f"could not write the manifest: the keys {taken} belong to the format. Rename them.")
    encoder = Encoder("manifest")
    extra = {key: encoder.encode(value, key) for key, value in manifest.extra.items()}
    if encoder.tensors:
        raise UnsavableError(f"could not write the manifest: '{next(iter(encoder.tensors))}' is a tensor. Use item().")
    return jsontext.dumps({
        "format": FORMAT,
        "format_version": manifest.format_version,
        "digest_algorithm": ALGORITHM,
        "kind": manifest.kind,
        **extra,
        "components": list(manifest.components),
        "entries": {name: _entry_fields(entry) for name, entry in manifest.entries.items()},
    })  # fmt: skip


def _entry_fields(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {"size": entry.size, "crc32": f"{entry.crc:08x}", "digest": entry.digest}
    return fields if entry.tensors is None else {**fields, "tensors": dict(entry.tensors)}


def read_manifest(data: bytes, file_size: int) -> Manifest:
    """Decode and check `manifest.json`."""
    try:
        fields = jsontext.loads(data)
        if not isinstance(fields, dict):
            raise ValueError("expected a JSON object")
        return replace(_checked(cast(dict[str, Any], fields), file_size), digest=named(digest_of(data)))
    except ValueError as error:
        raise HostileArchiveError(f"manifest.json breaks the format: {error}") from None


def _checked(fields: dict[str, Any], file_size: int) -> Manifest:
    version = fields.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:  # the file's last bytes said this one
        raise ValueError(f"expected format_version {FORMAT_VERSION}, found {version!r}")
    for key, expected in (("format", FORMAT), ("digest_algorithm", ALGORITHM)):
        if fields.get(key) != expected:
            raise ValueError(f"expected {key} {expected!r}, found {fields.get(key)!r}")
    kind, components, rows = fields.get("kind"), fields.get("components"), fields.get("entries")
    if not isinstance(kind, str) or not isinstance(components, list) or not isinstance(rows, dict):
        raise ValueError("expected kind (text), components (list) and entries (object)")
    entries = {name: _entry(name, row, file_size) for name, row in cast(dict[str, Any], rows).items()}
    names = cast(list[Any], components)
    for name in names:
        if not isinstance(name, str) or reason_against_component(name) or structure_entry(name) not in entries:
            raise ValueError(f"{name!r} is not the name of a component with a structure")
    if len(set(names)) != len(names):
        raise ValueError("a component is named twice")
    of_tensors = {tensor_entry(name) for name in names}
    for name, entry in entries.items():
        if (entry.tensors is not None) != (name in of_tensors):
            raise ValueError(f"entry {name!r} has tensors and is no component's, or the reverse")
    extra = {key: decode(value, _no_tensor) for key, value in fields.items() if key not in RESERVED_KEYS}
    return Manifest(kind, tuple(names), MappingProxyType(entries), MappingProxyType(extra))


def _entry(name: str, row: Any, file_size: int) -> Entry:
    reason = reason_against_entry(name)
    if reason or name == "manifest.json":
        raise ValueError(f"the entry name {name!r} is refused: {reason or 'it cannot list itself'}")
    fields = cast(dict[str, Any], row) if isinstance(row, dict) else {}
    size, crc, digest, tensors = (fields.get(key) for key in ("size", "crc32", "digest", "tensors"))
    if type(size) is not int or not 0 <= size <= file_size:
        raise ValueError(f"entry {name!r}: expected a size of at most {file_size} bytes, found {size!r}")
    if not isinstance(crc, str) or len(crc) != 8 or not set(crc) <= set("0123456789abcdef"):
        raise ValueError(f"entry {name!r}: expected a CRC-32 of 8 hexadecimal digits, found {crc!r}")
    if not is_digest(digest):
        raise ValueError(f"entry {name!r}: expected a digest of 64 hexadecimal digits, found {digest!r}")
    if tensors is not None and not (
        isinstance(tensors, dict) and all(map(is_digest, cast(dict[str, Any], tensors).values()))
    ):
        raise ValueError(f"entry {name!r}: expected one digest for each tensor")
    table = None if tensors is None else MappingProxyType(cast(dict[str, str], tensors))
    return Entry(size, int(crc, 16), cast(str, digest), table)


def _no_tensor(name: str, note: str | None) -> Any:
    raise ValueError(f"expected no tensors in the manifest, found {name!r}")
