"""Which names an archive may contain.

Promise: a name that passes can be unpacked below any folder without leaving it, on any common system, and names that
pass together do not get into each other's way there.
Failure: `reason_against_entry`, `reason_against_component` and `reason_against_together` return what is wrong, or
None; they never raise.
"""

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise

MANIFEST = "manifest.json"
MIMETYPE = "mimetype"
RESERVED = frozenset({MANIFEST, MIMETYPE})
MAX_NAME_BYTES = 1024
MAX_SEGMENT_BYTES = 255

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')


def reason_against_entry(name: str) -> str | None:
    """Say why `name` cannot be an entry's name, or return None."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if not encoded or len(encoded) > MAX_NAME_BYTES:
        return f"expected 1 to {MAX_NAME_BYTES} bytes, found {len(encoded)}"
    if name.startswith("/"):
        return "it is an absolute path"
    if _FORBIDDEN.search(name):
        return 'it contains a control character or one of \\ : * ? " < > |'
    segments = name.split("/")
    if ".." in segments or "." in segments:
        return "it leaves or restates its folder with '.' or '..'"
    if "" in segments:
        return "it contains an empty path segment"
    if any(len(segment.encode("utf-8")) > MAX_SEGMENT_BYTES for segment in segments):
        return f"a path segment is longer than {MAX_SEGMENT_BYTES} bytes"
    return None


def reason_against_together(names: Iterable[str]) -> str | None:
    """Say why different names, each an entry's, cannot be in one archive, or return None.

    A file cannot have the name of another's folder, and common systems take names that differ only in case for one.
    """
    # No name contains a control character, so what lies in the folder `a` follows directly on a file `a`.
    ordered = sorted((_folded(name).replace("/", "\0"), name) for name in names)
    for (first, name), (second, other) in pairwise(ordered):
        if first == second:
            return f"{name!r} and {other!r} differ only in case: they are one file on common systems"
        if second.startswith(first + "\0"):
            return f"{name!r} is a file and a folder of {other!r}: it can't be unpacked"
    return None


def _folded(name: str) -> str:
    """Return what canonical caseless matching compares (Unicode, definition D145)."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def reason_against_component(name: str) -> str | None:
    """Say why `name` cannot be a component's name, or return None."""
    if not _COMPONENT.fullmatch(name):
        return "expected 1 to 100 letters, digits, '_' or '-', not starting with '-'"
    if structure_entry(name) in RESERVED:
        return f"'{structure_entry(name)}' is reserved"
    return None


def structure_entry(component: str) -> str:
    """Name the JSON entry that holds a component's structure."""
    return f"{component}.json"


def tensor_entry(component: str) -> str:
    """Name the safetensors entry that holds a component's tensors."""
    return f"{component}.safetensors"
