"""Compare the data of a run that goes on with those that it was started with.

Promise: content decides. A file that was moved or renamed is the same file; one whose content changed is refused by
its name, whatever its size. Failure: ResumeError listing everything that differs.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from milepost.errors import ResumeError
from milepost.options import differences

FILES = "files"
"""Part of a split: for every set its files, as `number:name` → digest, in the order in which they were read."""


def check_split(saved: object, found: object, path: Path) -> list[str]:
    """Compare a checkpoint's split with today's; return what to tell the user of files that have other names.

    Raises ResumeError naming each file that changed, and what else does.
    """
    old, new = _mapping(saved), _mapping(found)
    before, after = _mapping(old.get(FILES)), _mapping(new.get(FILES))
    wrong: list[str] = []
    renamed: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        lines, same = _compare(_listed(before.get(name)), _listed(after.get(name)))
        (renamed if same else wrong).extend(f"the {name} set: {line}" for line in lines)
    wrong += _other_parts(old, new, named=bool(wrong))
    if wrong:
        raise ResumeError(
            f"could not continue from '{path}': the data are not those that the run was started with:\n  "
            + "\n  ".join(wrong)
            + "\nRestore the files, or start a new run, without --restart."
        )
    return renamed


def _mapping(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _listed(files: object) -> list[tuple[str, str]]:
    """List the files of a set in their order: name and digest."""
    return [(key.partition(":")[2], str(digest)) for key, digest in _mapping(files).items()]


def _compare(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> tuple[list[str], bool]:
    """Say what differs between the files of a set, and tell whether their contents are the same, in the same order."""
    if [digest for _, digest in old] == [digest for _, digest in new]:
        pairs = zip(old, new, strict=True)
        return [f"the file '{a}' is now called '{b}'" for (a, _), (b, _) in pairs if a != b], True
    lines = list(_changed(old, new))
    if not lines:
        orders = (", ".join(f"'{name}'" for name, _ in files) for files in (old, new))
        lines = ["expected the files in the order {}, found {}; list them in that order".format(*orders)]
    return lines, False


def _changed(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> Iterator[str]:
    names, contents = dict(new), [digest for _, digest in new]
    known, kept = {name for name, _ in old}, [digest for _, digest in old]
    for name, digest in old:
        if digest in contents:
            continue
        instead = f"found {_short(names[name])}" if name in names else "found no such file"
        yield f"'{name}': expected the content {_short(digest)}, {instead}"
    for name, digest in new:
        if digest not in kept and name not in known:
            yield f"'{name}': expected no such file, found the content {_short(digest)}"


def _other_parts(old: Mapping[str, Any], new: Mapping[str, Any], *, named: bool) -> Iterator[str]:
    """Say what differs besides the files; where these are `named`, only which numbers of examples do."""
    parts = ({name: part for name, part in side.items() if name != FILES} for side in (old, new))
    for each in differences(*parts):
        if isinstance(each.old, list) and isinstance(each.new, list) and len(each.old) != len(each.new):
            yield f"{each.key}: expected {len(each.old)} examples, found {len(each.new)}"
        elif not named:
            yield f"{each.key}: expected {_short(each.old)}, found {_short(each.new)}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:23]}…"
