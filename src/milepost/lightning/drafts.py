"""What killed processes left of the files that a Trainer saves.

Promise: only drafts go, and only of names that this Trainer's own callbacks write into their folders.
Needs: no other process saves under those names meanwhile. Names that lead into folders of their own are left alone.
Failure: CommitError naming the draft that can't be removed.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from milepost.archive import is_draft
from milepost.checkpoint import discard_drafts

_PLACE = re.compile(r"\{([^{}:]*)[^{}]*\}")
_DRAFT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]+\.draft", re.DOTALL)


def discard_left(callbacks: Iterable[Any]) -> list[Path]:
    """Remove the drafts of the files that these callbacks save; return what was removed.

    A callback without a folder and names of its own has left none.
    """
    removed: list[Path] = []
    for callback in callbacks:
        folder = getattr(callback, "dirpath", None)
        if folder and Path(folder).is_dir():
            patterns = _patterns(callback)
            removed += [
                draft
                for name in sorted(_targets(Path(folder)))
                if any(pattern.fullmatch(name) for pattern in patterns)
                for draft in discard_drafts(folder, name)
            ]
    return removed


def _targets(folder: Path) -> set[str]:
    """Name the files that the drafts in a folder should have become."""
    found = [_DRAFT.fullmatch(path.name) for path in folder.iterdir() if is_draft(path)]
    return {match["name"] for match in found if match is not None}


def _patterns(callback: Any) -> list[re.Pattern[str]]:
    """Return what the names match that a `ModelCheckpoint` writes: of each save, and of the last one."""
    templates = [getattr(callback, "filename", None) or "{epoch}-{step}", getattr(callback, "CHECKPOINT_NAME_LAST", "")]
    suffix = re.escape(getattr(callback, "FILE_EXTENSION", ".ckpt"))
    named = bool(getattr(callback, "auto_insert_metric_name", True))
    return [
        re.compile(rf"{_pattern(template, named)}(-v\d+)?{suffix}")
        for template in templates
        if template and "/" not in template
    ]


def _pattern(template: str, named: bool) -> str:
    parts, end = [], 0
    for place in _PLACE.finditer(template):
        parts.append(re.escape(template[end : place.start()]))
        parts.append((re.escape(f"{place[1]}=") if named else "") + "[^/]+")
        end = place.end()
    return "".join(parts) + re.escape(template[end:])
