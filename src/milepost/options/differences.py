"""What changed between two sets of options."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

from milepost.options.expectation import found
from milepost.options.mistakes import Path, dotted
from milepost.options.model import OptionsModel, plain_data


class Absent(Enum):
    """Stand for the value of a key that one side does not have."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Difference:
    """One key with its two values; sections that only one side has are listed key by key."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.old)} → {_shown(self.new)}"


Options = OptionsModel | Mapping[str, Any]


def differences(old: Options, new: Options) -> list[Difference]:
    """List every value that differs, by dotted key, in the order of the old options.

    Lists of sections are compared item by item, other lists as a whole; 1 and 1.0 are equal, 1 and true are
    not. Mappings, as read from YAML, may stand for options, for files of other versions.
    """
    sides = (plain_data(side) if isinstance(side, OptionsModel) else side for side in (old, new))
    return list(_compare((), *sides))


def _compare(path: Path, old: Any, new: Any) -> Iterator[Difference]:
    if _same_shape(old, new):
        before, after = _parts(old), _parts(new)
        for key in dict.fromkeys([*before, *after]):
            yield from _compare((*path, key), before.get(key, ABSENT), after.get(key, ABSENT))
    elif not _equal(old, new):
        yield Difference(dotted(path), old, new)


def _same_shape(old: Any, new: Any) -> bool:
    """Say whether both are sections or lists of sections, or one of them is and the other is absent."""
    if old is ABSENT or new is ABSENT:
        return bool(_parts(old) or _parts(new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return True
    return isinstance(old, list) and isinstance(new, list) and bool(_parts(old) or _parts(new))


def _parts(value: Any) -> dict[str | int, Any]:
    """Return what a section or a list of sections contains; nothing for any other value."""
    if isinstance(value, Mapping):
        return dict(cast(Mapping[str | int, Any], value))
    if isinstance(value, list):
        items = cast(list[Any], value)
        if any(isinstance(item, Mapping) for item in items):
            return dict(enumerate(items))
    return {}


def _equal(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        pairs = cast(list[Any], old), cast(list[Any], new)
        return len(pairs[0]) == len(pairs[1]) and all(map(_equal, *pairs))
    if isinstance(old, float) and isinstance(new, float) and math.isnan(old):
        return math.isnan(new)
    return isinstance(old, bool) == isinstance(new, bool) and old == new


def _shown(value: Any) -> str:
    return "absent" if value is ABSENT else found(value)
