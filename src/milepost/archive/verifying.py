"""Verify many archives: files, folders with all below them, patterns.

Promise: every file that was named has one verdict, also one that is damaged, of another kind, unreadable or not
there; only "sound" means that every byte is the one that was written. Needs no torch, imports nothing heavy, writes
nothing.
Failure: none is raised for a file; its verdict says what is wrong.
"""

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from milepost.archive.commit import is_draft
from milepost.archive.reader import Archive, Damage
from milepost.errors import ArchiveError, NotAnArchiveError, UnsupportedVersionError

SUFFIXES = (".ckpt", ".milepost.zip")
"""Names under which a folder is expected to hold archives: such a file is reported even if it is none."""

State = Literal["sound", "damaged", "not ours", "too new", "unreadable", "missing"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Say how one file is.

    `damages` names each damaged entry and tensor; `reason` says what is wrong where the file could not be opened as an
    archive. `kind` and `digest` are None where they could not be read.
    """

    path: Path
    state: State
    kind: str | None = None
    digest: str | None = None
    damages: tuple[Damage, ...] = ()
    reason: str | None = None


def verify_paths(names: Iterable[str | Path]) -> Iterator[Verdict]:
    """Verify what `names` stand for, one file after the other.

    There is one verdict for each name in a folder, in whatever ways it was given; a file that has several names, also
    as links, is read once.

    A file is verified whatever it is. Of a folder, all files below it count that are archives by their content or by
    their name; drafts and folders that are links are passed over. A name with `*`, `?` or `[` that is no file's stands
    for everything that it matches, `**` for any number of folders. A name that leads to no file gets the verdict
    "missing".
    """
    done: set[str] = set()
    read: dict[_Identity, Verdict] = {}
    for name in names:
        if not str(name):  # a path would take it for the folder that one is in
            yield Verdict(Path(name), "missing", reason="expected a path, found an empty one. Check the path.")
            continue
        found = False
        for path, chosen in _paths(Path(name)):
            place = os.path.join(os.path.realpath(path.parent), path.name)
            if place in done:
                found = True
                continue
            verdict = _verdict_once(path, read)
            if chosen and not _belongs(verdict):
                continue
            found = True
            done.add(place)
            yield verdict
        if not found:
            yield Verdict(Path(name), "missing", reason=_nothing(Path(name)))


def _paths(path: Path) -> Iterator[tuple[Path, bool]]:
    """List the files that a name stands for, and whether it was a folder that led to them."""
    if path.is_dir():
        yield from ((file, True) for file in _below(path))
    elif os.path.lexists(path):
        yield path, False
    elif glob.has_magic(str(path)):
        for name in sorted(glob.glob(str(path), recursive=True)):
            yield from _paths(Path(name))


def _below(folder: Path) -> Iterator[Path]:
    """List the files in a folder and below it, and the folders that cannot be read."""
    failures: list[OSError] = []
    for where, folders, files in os.walk(folder, onerror=failures.append):
        folders.sort()
        yield from (path for name in sorted(files) if not is_draft(path := Path(where, name)))
    yield from (Path(os.fsdecode(failure.filename)) for failure in failures)


def _belongs(verdict: Verdict) -> bool:
    """Tell whether a file that a folder led to counts, rather than lying there for some other purpose."""
    if verdict.state == "not ours":
        return verdict.path.name.endswith(SUFFIXES)
    # Between listing and reading, a run may retire a file.
    return os.path.lexists(verdict.path)


# Device, number, size and times: a file that takes the place of a retired one is another.
_Identity = tuple[int, int, int, int, int]


def _verdict_once(path: Path, read: dict[_Identity, Verdict]) -> Verdict:
    """Return the verdict on a file, without reading it again if it was read under another name."""
    try:
        found = path.stat()
    except OSError:
        return _verdict(path)
    if not stat.S_ISREG(found.st_mode):
        return _verdict(path)
    identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if identity not in read:
        read[identity] = _verdict(path)
    return replace(read[identity], path=path)


def _verdict(path: Path) -> Verdict:
    """Read every byte of a file."""
    try:
        if path.is_dir():
            os.listdir(path)  # it was listed because this fails
        with Archive.open(path) as archive:
            damages = tuple(archive.verify())
            state: State = "damaged" if damages else "sound"
            return Verdict(path, state, archive.manifest.kind, archive.digest, damages)
    except NotAnArchiveError as error:
        return Verdict(path, "not ours", reason=_reason(path, error))
    except UnsupportedVersionError as error:
        return Verdict(path, "too new", reason=_reason(path, error))
    except ArchiveError as error:
        return Verdict(path, "damaged", reason=_reason(path, error))
    except OSError as error:
        return Verdict(path, "unreadable", reason=error.strerror or str(error))


def _reason(path: Path, error: ArchiveError) -> str:
    return str(error).removeprefix(f"could not open '{path}': ")


def _nothing(path: Path) -> str:
    if path.is_dir():
        return f"expected files that milepost wrote below the folder '{path}', found none. Check the path."
    if glob.has_magic(str(path)):
        return f"expected files that match '{path}', found none. Check the pattern."
    return f"expected a file, a folder or a pattern, found nothing at '{path}'. Check the path."
