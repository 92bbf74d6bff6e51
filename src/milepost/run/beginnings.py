"""Remove what processes left that were killed while they made a run's directory.

Promise: only what can't hold anything of anybody goes: drafts of records, and directories of runs that never got a
record, with nothing in them but what is made before it.
Needs: the lock of the root, under which alone directories of runs are made.
Failure: none; what can't be removed is left for the next time.
"""

import re
from contextlib import suppress
from pathlib import Path

from milepost.archive import is_draft
from milepost.run.locking import LOCK, OWNER

RUN_NAME = re.compile(r"\d{2}-\d{2}-\d{2}(-\d+)?")
"""How the directory of a run is named: the time of its start, and a number where that was taken."""


def clear_beginnings(root: Path) -> None:
    """Remove the drafts in `root`, and the directories below it of runs that never began."""
    for draft in filter(is_draft, root.iterdir()):
        draft.unlink(missing_ok=True)
    for path in root.glob("*/*"):
        if RUN_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and _never_began(path):
            with suppress(OSError):
                _remove(path)


def _never_began(path: Path) -> bool:
    return all(_made_first(entry) for entry in path.iterdir())


def _made_first(entry: Path) -> bool:
    """Tell whether an entry is one of those that a directory has before its record is in place."""
    if entry.is_dir():
        return entry.name == "checkpoints" and next(entry.iterdir(), None) is None
    return entry.name in (LOCK, OWNER) or is_draft(entry)


def _remove(path: Path) -> None:
    for entry in path.iterdir():
        if entry.is_dir():
            entry.rmdir()
        else:
            entry.unlink()
    path.rmdir()
