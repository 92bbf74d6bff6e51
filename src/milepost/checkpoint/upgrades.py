"""Version of the training state, and the steps that carry older files to it, on plain data.

A change of what a checkpoint's manifest keys or components mean raises TRAINING_STATE_VERSION and adds the step that
leads there to UPGRADES, so that there is one for every version before it. A step computes and touches no file; what
it is given may be taken apart, for it is a copy.

Promise: a reader sees every file as one of today's version. Components that no step changes are still read lazily.
Failure: UnsupportedVersionError naming the version to install; ArchiveError where the file is not what its version
says.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from milepost.archive import TensorRow, Tree
from milepost.archive.tensorfile import place
from milepost.archive.tree import Encoder
from milepost.errors import ArchiveError, UnsupportedVersionError

TRAINING_STATE_VERSION = 1
"""Version of what a checkpoint's manifest and components mean; the container has its own."""

VERSION_KEY = "training_state"
WRITER_KEY = "written_by"

# What a step raises that meets something else than its version promises.
_SURPRISES = (ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError)
_WRITER = re.compile(r"milepost ([0-9][0-9A-Za-z.!+]{0,39})")


@dataclass(frozen=True)
class Made:
    """Make a component from others of the version before: `make(*trees)` in the order of `sources`."""

    sources: tuple[str, ...]
    make: Callable[..., Tree]


def _unchanged(keys: dict[str, Any]) -> dict[str, Any]:
    return keys


@dataclass(frozen=True)
class UpgradeStep:
    """Lead from a version of the training state to the next.

    `keys` maps the manifest's keys to those of the next version. `made` says, by name, how components come about that
    change or are new; each is made where the file has all its sources. `dropped` names those that are no more; one that
    is renamed is made under its new name and dropped under its old. Every other component stays as it is.
    """

    keys: Callable[[dict[str, Any]], dict[str, Any]] = _unchanged
    made: Mapping[str, Made] = field(default_factory=dict[str, Made])
    dropped: frozenset[str] = frozenset()

    def makes(self, present: Sequence[str]) -> dict[str, Made]:
        """Return what this step makes of a file with these components."""
        return {name: made for name, made in self.made.items() if set(made.sources) <= set(present)}

    def names(self, present: Sequence[str]) -> tuple[str, ...]:
        """Return the components that a file with these ones has after this step."""
        kept = [name for name in present if name not in self.dropped]
        return tuple(dict.fromkeys([*kept, *self.makes(present)]))


UPGRADES: dict[int, UpgradeStep] = {}
"""`UPGRADES[v]` leads from version v to v + 1."""


def saved_version(keys: Mapping[str, Any]) -> int:
    """Return the version of the training state that a manifest's keys declare.

    Raises UnsupportedVersionError for one that is newer than this installation, ArchiveError for none.
    """
    versions = keys.get("versions")
    declared = cast(Mapping[str, Any], versions).get(VERSION_KEY) if isinstance(versions, Mapping) else None
    oldest = min(UPGRADES, default=TRAINING_STATE_VERSION)
    if type(declared) is not int or declared < oldest:
        raise ArchiveError(f"the manifest is not a checkpoint's: expected versions.{VERSION_KEY}, found {declared!r}")
    if declared > TRAINING_STATE_VERSION:
        raise UnsupportedVersionError(
            f"its training state has version {declared}, expected at most {TRAINING_STATE_VERSION}: "
            f"{what_to_install(keys)}"
        )
    return declared


def what_to_install(keys: Mapping[str, Any]) -> str:
    """Name the version of milepost that knows a newer file: the one that wrote it, where the manifest says so."""
    written_by = keys.get(WRITER_KEY)
    # The file may come from anybody: nothing but a version is repeated to the user.
    found = _WRITER.fullmatch(written_by) if isinstance(written_by, str) else None
    return f"install milepost >= {found[1]}, which wrote it" if found else "install a newer milepost"


def upgraded_keys(keys: Mapping[str, Any]) -> Mapping[str, Any]:
    """Carry a manifest's keys to today's version; those of today are returned as they are."""
    version = saved_version(keys)
    if version == TRAINING_STATE_VERSION:
        return keys
    current = copy.deepcopy(dict(keys))
    for number in range(version, TRAINING_STATE_VERSION):
        current = _applied(number, "the manifest", UPGRADES[number].keys, current)
    current["versions"] = {**current["versions"], VERSION_KEY: TRAINING_STATE_VERSION}
    return MappingProxyType(current)


class UpgradedComponents:
    """Give the components of a file as today's version has them, each made when it is asked for."""

    def __init__(self, version: int, stored: Sequence[str], path: Path) -> None:
        self._first = version
        self._path = path
        self._steps = [UPGRADES[number] for number in range(version, TRAINING_STATE_VERSION)]
        self._present = [tuple(stored)]
        for step in self._steps:
            self._present.append(step.names(self._present[-1]))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components in today's version."""
        return self._present[-1]

    def unchanged(self, name: str) -> bool:
        """Tell whether a component is in the file as it is today; raises ArchiveError where there is none."""
        self._check(name)
        made = (step.makes(present) for step, present in zip(self._steps, self._present, strict=False))
        return not any(name in each for each in made)

    def tree(self, name: str, read: Callable[[str], Tree]) -> Tree:
        """Return a component of today, made from what `read` gives by stored name; raises ArchiveError."""
        self._check(name)
        return self._tree(name, len(self._steps), read)

    def _tree(self, name: str, level: int, read: Callable[[str], Tree]) -> Tree:
        """Return a component as it is after so many steps."""
        if level == 0:
            return read(name)
        made = self._steps[level - 1].makes(self._present[level - 1]).get(name)
        if made is None:
            return self._tree(name, level - 1, read)
        sources = [self._tree(source, level - 1, read) for source in made.sources]
        what = f"could not load component '{name}' of '{self._path}': it"
        return _applied(self._first + level - 1, what, made.make, *sources)

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise ArchiveError(
                f"could not load component '{name}' of '{self._path}': its components are "
                f"{', '.join(self.names) or 'none'}. Ask for one of these."
            )


def described_tensors(component: str, tree: Tree) -> list[TensorRow]:
    """Describe the tensors that a tree would be saved with; their digests are empty."""
    encoder = Encoder(component)
    encoder.encode(tree)
    placed = place((name, *form) for name, form in encoder.forms.items())
    return [TensorRow(t.name, t.dtype, t.shape, t.end - t.begin, "") for t in placed]


def _applied(number: int, what: str, change: Callable[..., Any], *arguments: Any) -> Any:
    """Run a part of a step; what it did not expect is the file's fault."""
    try:
        return change(*arguments)
    except _SURPRISES as error:
        raise ArchiveError(
            f"{what} could not be carried from version {number} of the training state to {number + 1}: "
            f"{type(error).__name__}: {error}. Use another file of the run."
        ) from error
