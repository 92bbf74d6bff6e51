"""``-r key.sub=value``: change single options after the file has been read."""

import re
from collections.abc import Sequence

from milepost.options.draft import DEEPEST, DocumentError, Draft, is_unicode
from milepost.options.mistakes import Origin, Origins, Path, dotted
from milepost.options.model import JSON

_INDEX = re.compile(r"\[(-?[0-9]+)\]")


class Typed(str):
    """An override that was given in other words than ``-r KEY=VALUE``: `typed`, which reports name."""

    __slots__ = ("typed",)
    typed: str

    def __new__(cls, override: str, typed: str) -> "Typed":
        """Make one."""
        made = super().__new__(cls, override)
        made.typed = typed
        return made


def apply_overrides(draft: Draft, overrides: Sequence[str]) -> None:
    """Apply each override in turn, as OmegaConf merges a dot list: mappings are merged, all else is replaced.

    Values are typed by the rules of the file. List items are written ``key.0.sub`` or ``key[0].sub``; the
    item must exist. Missing sections on the way are made.
    """
    # Imported here, as in loading.py, because PyYAML takes 40 ms that declaring options needs not.
    from milepost.options.document import read_yaml

    for number, argument in enumerate(overrides, start=1):
        origin = Origin(number, 0, argument, argument.typed if isinstance(argument, Typed) else "")
        key, equals, text = argument.partition("=")
        parts = _INDEX.sub(r".\1", key.strip()).split(".")
        if not is_unicode(argument):
            draft.refuse(origin, "expected UTF-8 text, found other bytes")
            continue
        if not equals or not all(parts):
            draft.refuse(origin, "expected key=value, with dots between nested keys")
            continue
        if len(parts) > DEEPEST:
            draft.refuse(origin, f"expected at most {DEEPEST} levels of nesting")
            continue
        try:
            own = Draft(draft.name, {}, Origins(origin))
            value = read_yaml(text, own, lambda line, origin=origin: origin)
        except DocumentError as error:
            draft.refuse(origin, f"{error}; quote the value if it is text")
            continue
        draft.mistakes += own.mistakes
        if not own.mistakes:
            _assign(draft, draft.data, (), parts, value, origin)


def _assign(
    draft: Draft,
    place: dict[str, JSON] | list[JSON],
    path: Path,
    parts: Sequence[str],
    value: JSON,
    origin: Origin,
) -> None:
    part, *rest = parts
    if isinstance(place, list) and not (part.isdecimal() and int(part) < len(place)):
        draft.refuse(origin, f"{dotted(path)} has no item {part}; {_extent(place)}")
        return
    old = place.get(part) if isinstance(place, dict) else place[int(part)]
    inner: Path = (*path, part if isinstance(place, dict) else int(part))
    if rest:
        if not isinstance(old, (dict, list)):
            old = dict[str, JSON]()
            _put(draft, place, inner, old, origin)
        _assign(draft, old, inner, rest, value, origin)
    elif isinstance(value, dict) and isinstance(old, dict):
        for key, single in value.items():
            _assign(draft, old, inner, [key], single, origin)
    else:
        _put(draft, place, inner, value, origin)


def _put(draft: Draft, place: dict[str, JSON] | list[JSON], path: Path, value: JSON, origin: Origin) -> None:
    if isinstance(place, dict):
        place[str(path[-1])] = value
    else:
        place[int(path[-1])] = value
    draft.origins.replace(path, origin)
    draft.broken = {broken for broken in draft.broken if broken[: len(path)] != path}


def _extent(items: Sequence[JSON]) -> str:
    return f"expected an index from 0 to {len(items) - 1}" if items else "the list is empty"
