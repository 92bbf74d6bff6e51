"""Lay plain values of two files side by side, so that what differs in them has short names and no noise.

Promise: equal values stay equal, and those that differ stay different.
"""

from collections.abc import Mapping
from typing import Any, cast

LISTED = 50
"""Items of a list that are compared one by one, at most; longer ones, of examples say, are compared as a whole."""


class Emptied(dict[str | int, Any]):
    """A section of tensors alone, without them: it is compared with them, and says nothing where it is missing."""


def aligned(a: Any, b: Any) -> tuple[Any, Any]:
    """Return both with short lists of equal lengths as sections, and without those of tensors alone on one side."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return _sections(cast(Mapping[Any, Any], a), cast(Mapping[Any, Any], b))
    if isinstance(a, list) and isinstance(b, list):
        one, other = cast(list[Any], a), cast(list[Any], b)
        if len(one) == len(other) <= LISTED and one != other:
            return _sections(dict(enumerate(one)), dict(enumerate(other)))
    return cast(Any, a), cast(Any, b)


def _sections(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    one, other = _told(a, b), _told(b, a)
    for key in one.keys() & other.keys():
        one[key], other[key] = aligned(one[key], other[key])
    return one, other


def _told(side: Mapping[Any, Any], beside: Mapping[Any, Any]) -> dict[Any, Any]:
    """Leave out what says nothing where the other side has nothing."""
    alone = {key: _plain(value) for key, value in side.items() if key not in beside}
    return {k: alone.get(k, v) for k, v in side.items() if k in beside or not isinstance(v, Emptied)}


def _plain(tree: Any) -> Any:
    return _told(cast(Mapping[Any, Any], tree), {}) if isinstance(tree, Mapping) else tree
