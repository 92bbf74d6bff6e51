"""Read an archive with nothing of Milepost: written from docs/formats/archive.md alone.

It needs `zipfile`, `json` and safetensors, and torch for what safetensors hands out. Where blake3 is not installed,
everything but the digests is checked, and `Contents.digests_checked` says so. `Refused` tells which rule of the page
a file breaks.
"""

import json
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

try:
    from blake3 import blake3
except ImportError:
    blake3 = None  # type: ignore[assignment]

MIMETYPE = b"application/x-milepost-archive"
BEGINNING = 94
COMMENT = 93
END = 191
ELEMENT_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
COMPLEX = {"complex128": "F64", "complex64": "F32", "complex32": "F16"}
AS_BYTES = ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
OWN_KEYS = ("format", "format_version", "digest_algorithm", "kind", "components", "entries")
HEXADECIMAL = set("0123456789abcdef")


class Refused(ValueError):
    """Report the rule that a file breaks."""


@dataclass(frozen=True)
class Contents:
    """Hold everything that an archive holds."""

    kind: str
    digest: str
    keys: dict[str, Any]
    components: dict[str, Any]
    files: dict[str, bytes]
    digests_checked: bool


def read(path: Path) -> Contents:
    """Read and check the whole of a file; raises `Refused`."""
    data = path.read_bytes()
    digest = recognize(data)
    text = find_manifest(data)
    need(hexadecimal(text) in (None, digest), "the manifest's digest is the one in the comment")
    manifest = check_manifest(strict_json(text))
    entries = check_wrapper(data, manifest, text, digest)
    check_with_zipfile(path, entries)
    for name, row in manifest["entries"].items():
        check_digests(name, row, entries[name])
    components = {name: component(name, entries, manifest) for name in manifest["components"]}
    used = {"mimetype", "manifest.json", *(f"{c}.{end}" for c in components for end in ("json", "safetensors"))}
    return Contents(
        kind=manifest["kind"],
        digest=f"blake3:{digest}",
        keys={key: decode(value, {}, {}) for key, value in manifest.items() if key not in OWN_KEYS},
        components=components,
        files={name: content for name, content in entries.items() if name not in used},
        digests_checked=blake3 is not None,
    )


def need(condition: object, rule: str) -> None:
    """Refuse the file unless it keeps a rule."""
    if not condition:
        raise Refused(rule)


# "Reading", steps 1 and 2


def recognize(data: bytes) -> str:
    """Compare the beginning and the comment; return the digest in the comment."""
    begins = data[:BEGINNING] == local_header("mimetype", len(MIMETYPE), zlib.crc32(MIMETYPE), 0) + MIMETYPE
    words = data[-COMMENT:].split(b" ")
    ends = (
        [len(word) for word in words] == [16, 4, 6, 64]
        and (words[0], words[2]) == (b"milepost-archive", b"blake3")
        and words[1].isdigit()
        and set(words[3].decode("latin-1")) <= HEXADECIMAL
    )
    need(begins or ends, "another kind of file")
    need(begins, "damaged: the beginning is not an archive's")
    need(ends, "damaged: the comment is not an archive's")
    need(words[1] == b"0001", f"format version {words[1].decode()} is not known here")
    return words[3].decode()


# "Reading", steps 3 and 4


def find_manifest(data: bytes) -> bytes:
    """Find the manifest by the end records and the last record of the directory."""
    size, offset = number(data, len(data) - END + 40), number(data, len(data) - END + 48)
    need(offset + size == len(data) - END, "the end records follow the directory")
    need(size >= len(directory_record("manifest.json", 0, 0, 0)), "the directory has a record of manifest.json")
    length, header = number(data, offset + size - 24), number(data, offset + size - 8)
    begin = header + len(local_header("manifest.json", length, 0, header))
    need(begin + length == offset, "the last entry is manifest.json")
    return data[begin:offset]


def number(data: bytes, at: int) -> int:
    """Read a number of 8 bytes."""
    return int.from_bytes(data[at : at + 8], "little")


def check_manifest(manifest: Any) -> dict[str, Any]:
    """Check the form of the manifest."""
    need(isinstance(manifest, dict), "the manifest is an object")
    need(manifest.get("format") == "milepost-archive", "format")
    need(type(manifest.get("format_version")) is int and manifest["format_version"] == 1, "format_version")
    need(manifest.get("digest_algorithm") == "blake3", "digest_algorithm")
    need(isinstance(manifest.get("kind"), str), "kind")
    need(isinstance(manifest.get("entries"), dict), "entries")
    need(isinstance(manifest.get("components"), list), "components")
    for name in manifest["components"]:
        need(isinstance(name, str) and component_name(name), "name of a component")
        need(f"{name}.json" in manifest["entries"], "every component has a structure")
    need(len(set(manifest["components"])) == len(manifest["components"]), "no component twice")
    for name, row in manifest["entries"].items():
        need(entry_name(name) and name != "manifest.json", "name of an entry")
        check_description(row, name in [f"{c}.safetensors" for c in manifest["components"]])
    need(next(iter(manifest["entries"]), None) == "mimetype", "the first entry is mimetype")
    need(go_together([*manifest["entries"], "manifest.json"]), "no name is another's, but for case, or its folder")
    return manifest


def check_description(row: Any, tensors: bool) -> None:
    """Check the form of an entry's description."""
    need(isinstance(row, dict) and {"size", "crc32", "digest"} <= set(row), "description of an entry")
    need(type(row["size"]) is int and row["size"] >= 0, "size of an entry")
    need(is_hexadecimal(row["crc32"], 8) and is_hexadecimal(row["digest"], 64), "crc32 and digest of an entry")
    need(("tensors" in row) == tensors, "digests of tensors, there and only there")
    need(all(is_hexadecimal(digest, 64) for digest in row.get("tensors", {}).values()), "digest of a tensor")


def check_wrapper(data: bytes, manifest: dict[str, Any], text: bytes, digest: str) -> dict[str, bytes]:
    """Build the wrapper again and compare; return the data of all entries."""
    rows = [(name, row["size"], int(row["crc32"], 16)) for name, row in manifest["entries"].items()]
    entries: dict[str, bytes] = {}
    offset, directory = 0, b""
    for name, size, crc in [*rows, ("manifest.json", len(text), zlib.crc32(text))]:
        need(size <= len(data), "sizes fit into the file")
        header = local_header(name, size, crc, offset)
        begin = offset + len(header)
        entries[name] = data[begin : begin + size]
        need(data[offset:begin] == header, f"local header of {name}")
        need(zlib.crc32(entries[name]) == crc, f"CRC-32 of {name}")
        directory += directory_record(name, size, crc, offset)
        offset = begin + size
    need(data[offset:] == directory + tail(len(entries), len(directory), offset, digest), "directory and end records")
    need(entries["mimetype"] == MIMETYPE, "the data of mimetype")
    return entries


def local_header(name: str, size: int, crc: int, offset: int) -> bytes:
    """Build the bytes before an entry's data."""
    text = name.encode()
    padding = -(offset + 30 + len(text) + 20 + 6) % 64
    return (
        numbers((0x04034B50, 4), (45, 2), (0x0800, 2), (0, 2), (0, 2), (0x0021, 2), (crc, 4))
        + numbers((0xFFFFFFFF, 4), (0xFFFFFFFF, 4), (len(text), 2), (26 + padding, 2))
        + text
        + numbers((0x0001, 2), (16, 2), (size, 8), (size, 8))
        + numbers((0xD935, 2), (2 + padding, 2), (64, 2))
        + bytes(padding)
    )


def directory_record(name: str, size: int, crc: int, offset: int) -> bytes:
    """Build an entry's record in the directory."""
    text = name.encode()
    return (
        numbers((0x02014B50, 4), (0x032D, 2), (45, 2), (0x0800, 2), (0, 2), (0, 2), (0x0021, 2), (crc, 4))
        + numbers((0xFFFFFFFF, 4), (0xFFFFFFFF, 4), (len(text), 2), (28, 2), (0, 2), (0, 2), (0, 2))
        + numbers((0x81A40000, 4), (0xFFFFFFFF, 4))
        + text
        + numbers((0x0001, 2), (24, 2), (size, 8), (size, 8), (offset, 8))
    )


def tail(count: int, size: int, offset: int, digest: str) -> bytes:
    """Build the end records and the comment."""
    return (
        numbers((0x06064B50, 4), (44, 8), (0x032D, 2), (45, 2), (0, 4), (0, 4))
        + numbers((count, 8), (count, 8), (size, 8), (offset, 8))
        + numbers((0x07064B50, 4), (0, 4), (offset + size, 8), (1, 4))
        + numbers((0x06054B50, 4), (0, 2), (0, 2), (0xFFFF, 2), (0xFFFF, 2))
        + numbers((0xFFFFFFFF, 4), (0xFFFFFFFF, 4), (COMMENT, 2))
        + f"milepost-archive 0001 blake3 {digest}".encode()
    )


def numbers(*fields: tuple[int, int]) -> bytes:
    """Write numbers of so many bytes each."""
    return b"".join(value.to_bytes(size, "little") for value, size in fields)


def check_with_zipfile(path: Path, entries: dict[str, bytes]) -> None:
    """Make sure that an ordinary zip program finds the same entries."""
    with zipfile.ZipFile(path) as archive:
        need(archive.namelist() == list(entries), "zipfile finds the same entries")
        need(all(archive.read(name) == content for name, content in entries.items()), "zipfile finds the same data")


# "Names", "JSON" and digests


def entry_name(name: str) -> bool:
    """Tell whether a name may be an entry's."""
    segments = name.split("/")
    return (
        1 <= len(name.encode()) <= 1024
        and all(1 <= len(segment.encode()) <= 255 and segment not in (".", "..") for segment in segments)
        and not any(ord(c) < 0x20 or ord(c) == 0x7F or c in '\\:*?"<>|' for c in name)
    )


def go_together(names: list[str]) -> bool:
    """Tell whether entries of these names can be unpacked side by side on any system."""
    files = {caseless(name) for name in names}
    folders = {caseless(name[:at]) for name in names for at, letter in enumerate(name) if letter == "/"}
    return len(files) == len(names) and not files & folders


def caseless(name: str) -> str:
    """Return what canonical caseless matching compares."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def component_name(name: str) -> bool:
    """Tell whether a name may be a component's."""
    allowed = all(c.isascii() and (c.isalnum() or c in "_-") for c in name)
    return allowed and 1 <= len(name) <= 100 and name[0] != "-" and name != "manifest"


def is_hexadecimal(value: object, digits: int) -> bool:
    """Tell whether a value is so many lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == digits and set(value) <= HEXADECIMAL


def hexadecimal(data: bytes) -> str | None:
    """Return the digest of bytes, or None where BLAKE3 is not installed."""
    return None if blake3 is None else blake3(data).hexdigest()


def strict_json(data: bytes) -> Any:
    """Read JSON as the page allows it."""
    need(len(data) <= 64 * 2**20, "JSON has at most 64 MiB")
    need(sum(map(data.count, (b",", b"[", b"{"))) <= 2**21, "JSON has at most 2^21 of , [ and {")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), "no key twice")
        return dict(pairs)

    def refuse(literal: str) -> None:
        raise Refused(f"{literal} is no JSON")

    try:
        value = json.loads(data.decode(), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Refused(f"no JSON: {error}") from None
    need(depth_within(value, 128), "arrays and objects at level 128 at most")
    return value


def depth_within(value: Any, most: int) -> bool:
    """Tell whether no array and no object lies deeper than at this level, the outermost being at level 0."""
    level = [value]
    for _ in range(most + 1):
        level = [c for v in level if isinstance(v, dict | list) for c in (v.values() if isinstance(v, dict) else v)]
    return not any(isinstance(value, dict | list) for value in level)


def check_digests(name: str, row: dict[str, Any], data: bytes) -> None:
    """Compare the digest of an entry, or of the header of an entry of tensors."""
    if "tensors" in row:
        need(len(data) >= 8, "a header of tensors has a length")
        data = data[: 8 + int.from_bytes(data[:8], "little")]
    need(hexadecimal(data) in (None, row["digest"]), f"digest of {name}")


# "Tensors" and "Trees"


def component(name: str, entries: dict[str, bytes], manifest: dict[str, Any]) -> Any:
    """Read a component: its tensors, then its tree, and see that each tensor has a place in it."""
    entry = f"{name}.safetensors"
    tensors: dict[str, torch.Tensor] = {}
    forms: dict[str, str] = {}
    if entry in entries:
        forms = check_tensors(entries[entry], manifest["entries"][entry]["tensors"])
        tensors = safetensors.torch.load(entries[entry])
    made: dict[str, tuple[object, torch.Tensor]] = {}
    tree = decode(strict_json(entries[f"{name}.json"]), {n: (forms[n], tensors[n]) for n in forms}, made)
    need(set(made) == set(forms), "each stored tensor is referred to")
    return tree


def check_tensors(data: bytes, digests: dict[str, str]) -> dict[str, str]:
    """Check a header against the data and the digests; return each tensor's stored type by name."""
    length = 8 + int.from_bytes(data[:8], "little")
    need(length % 64 == 0 and length <= len(data), "header and length have a multiple of 64 bytes")
    header = strict_json(data[8:length].rstrip(b" "))
    need(isinstance(header, dict), "a header is an object")
    header = {name: row for name, row in header.items() if name != "__metadata__"}
    need(set(header) == set(digests), "digests of exactly the tensors")
    rows = {}
    for name, row in header.items():
        need(isinstance(row, dict) and set(row) == {"dtype", "shape", "data_offsets"}, "description of a tensor")
        need(row["dtype"] in ELEMENT_BYTES, "type of a tensor")
        need(isinstance(row["shape"], list) and isinstance(row["data_offsets"], list), "shape of a tensor")
        need(all(type(n) is int and n >= 0 for n in row["shape"] + row["data_offsets"]), "numbers of a shape")
        rows[name] = (row["dtype"], row["shape"], row["data_offsets"])
    position = length
    for name, (dtype, shape, offsets) in sorted(rows.items(), key=lambda i: (-ELEMENT_BYTES[i[1][0]], i[0].encode())):
        size = ELEMENT_BYTES[dtype]
        for extent in shape:
            size *= extent
        need(offsets == [position - length, position - length + size], "order of the tensors, without gap or overlap")
        content = data[position : position + size]
        need(dtype != "BOOL" or set(content) <= {0, 1}, "bytes of a BOOL are 0 or 1")
        need(hexadecimal(content) in (None, digests[name]), f"digest of tensor {name}")
        position += size
    need(position == len(data), "the tensors fill the data")
    return {name: dtype for name, (dtype, _, _) in rows.items()}


def decode(value: Any, tensors: dict[str, tuple[str, Any]], made: dict[str, tuple[object, Any]]) -> Any:
    """Rebuild the tree that JSON stands for; `made` collects the tensors that were referred to."""
    if isinstance(value, list):
        return [decode(item, tensors, made) for item in value]
    if not isinstance(value, dict):
        return value
    special = [key for key in value if key.startswith("$")]
    if not special:
        return {key: decode(item, tensors, made) for key, item in value.items()}
    if special == ["$tensor"] and set(value) <= {"$tensor", "as"}:
        return tensor(value["$tensor"], value.get("as"), tensors, made)
    need(len(value) == 1, "a notation stands alone")
    (content,) = value.values()
    if special == ["$tuple"]:
        need(isinstance(content, list), "$tuple holds a list")
        return tuple(decode(item, tensors, made) for item in content)
    if special == ["$float"]:
        need(isinstance(content, str) and content in FLOATS, "$float is nan, inf or -inf")
        return FLOATS[content]
    need(special == ["$dict"] and isinstance(content, list), f"no notation {special}")
    pairs: dict[Any, Any] = {}
    for pair in content:
        need(isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (int, str), "$dict holds pairs")
        need(isinstance(pair[0], str) or -(2**63) <= pair[0] < 2**63, "integer keys have 64 bits")
        need(pair[0] not in pairs, "no key twice")
        pairs[pair[0]] = decode(pair[1], tensors, made)
    return pairs


def tensor(name: Any, noted: Any, tensors: dict[str, tuple[str, Any]], made: dict[str, tuple[object, Any]]) -> Any:
    """Return the tensor of a name, the same one each time."""
    need(isinstance(name, str) and name in tensors, f"there is a tensor {name}")
    if name in made:
        need(made[name][0] == noted, "a tensor is always referred to with the same `as`")
        return made[name][1]
    dtype, stored = tensors[name]
    if noted in COMPLEX:
        need(dtype == COMPLEX[noted] and stored.shape[-1:] == (2,), f"{noted} is stored as pairs")
        stored = torch.view_as_complex(stored)
    elif noted in AS_BYTES:
        need(dtype == "U8", f"{noted} is stored as U8")
        stored = stored.view(getattr(torch, noted))
    else:
        need(noted is None, f"no type {noted}")
    made[name] = (noted, stored)
    return stored
