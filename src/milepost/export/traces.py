"""Take out of an exported file what its format's own writer said of the machine that it was written on.

Compilers write the names of source files, which hold the folders of a user and often the user's name, into what
they make. A model that is given away must not tell them.

Promise: the program computes the same; what is left is compared with the trained model afterwards, like the whole.
Needs a zip file, as every format has that we write.
"""

import re
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

ALIGNMENT = 64
"""PyTorch puts the data of every entry at a multiple of this, so that they can be mapped into memory."""

_PADDING = struct.Struct("<HH")
_PADDING_ID = 0xD935  # the extra field that Android's zipalign writes
_LOCAL_HEADER = 30


def remove_traces(path: Path, *, leave_out: tuple[str, ...], places: Iterable[str] = ()) -> None:
    """Write a zip file again without the entries whose names end so, and without the names of places in the rest.

    `places` are folders; where one begins a path, filling of the same length takes its place, so that nothing in a
    binary file moves.
    """
    pattern = _pattern(places)
    clean = path.with_name(f"{path.name}.clean")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(clean, "w") as target:
        for entry in source.infolist():
            if entry.filename.endswith(leave_out):
                continue
            data = source.read(entry)
            if pattern is not None:
                data = pattern.sub(lambda match: b"_" * len(match[0]), data)
            target.writestr(_entry(entry, target), data)
    clean.replace(path)


def _pattern(places: Iterable[str]) -> re.Pattern[bytes] | None:
    """Match a folder where it begins a path, the longest of several; by its own name and by its real one."""
    names = {name for place in places for name in (place.rstrip("/"), str(Path(place).resolve()))}
    known = [re.escape(name.encode()) for name in sorted(names, key=len, reverse=True) if len(name) > 1]
    return re.compile(b"(?:" + b"|".join(known) + rb")(?=[/\0])") if known else None


def _entry(entry: zipfile.ZipInfo, target: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Describe an entry of the new file like the old one, filled up so that its data are aligned."""
    new = zipfile.ZipInfo(entry.filename)
    new.compress_type = entry.compress_type
    begin = target.fp.tell() if target.fp is not None else 0
    end = begin + _LOCAL_HEADER + len(entry.filename.encode()) + _PADDING.size
    filling = -end % ALIGNMENT
    new.extra = _PADDING.pack(_PADDING_ID, filling) + bytes(filling)
    return new
