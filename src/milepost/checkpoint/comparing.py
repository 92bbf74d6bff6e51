"""What differs between two archives.

Promise: everything but the wrapper is compared, as it is stored. Tensors of equal digests are equal and are not read;
of the others, dtypes and shapes are compared without reading, and the values of one pair after the other.
Failure: the ArchiveError family where a file cannot be read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import yaml

from milepost.archive import Archive, TensorRow, Tree
from milepost.archive.reader import TensorName
from milepost.checkpoint.aligning import Emptied, aligned
from milepost.checkpoint.saving import OPTIONS
from milepost.checkpoint.tensor_distance import Distance, distance
from milepost.errors import DamagedArchiveError
from milepost.options import Difference, differences

if TYPE_CHECKING:
    import torch

# Keys that lead to a value; joined by dots they are its name for people.
_Path = tuple[str | int, ...]

_SECTIONS = {
    "metadata": ("metadata",),
    "record": ("run_id", "step", "epoch", "task", "metrics", "parents", "lineage", "created"),
    "environment": ("environment",),
}
SECTIONS = ("options", *_SECTIONS, "versions", "files", "values")
"""Sections whose differences are those of plain values by dotted key."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a tensor is without its values: dtype as the format names it, and shape."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """Describe a tensor that differs, by component and name: `a` or `b` is None where that file does not have it, and
    `distance` says by how much the values differ where both are of one form.
    """

    component: str
    name: str
    a: Form | None
    b: Form | None
    distance: Distance | None = None


@dataclass(frozen=True)
class Comparison:
    """Hold what differs between the files `a` and `b`.

    `sections` gives the differences of plain values, by section (see SECTIONS); in "files" the values are digests.
    Components that only one file has are named, and what is in them is not compared. `compared` says which tensors of
    each file were, where those are not all.
    """

    sections: Mapping[str, tuple[Difference, ...]]
    only_in_a: tuple[str, ...] = ()
    only_in_b: tuple[str, ...] = ()
    tensors: tuple[TensorDifference, ...] = ()
    equal_tensors: int = 0
    compared: tuple[str, str] | None = None

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (any(self.sections.values()) or self.only_in_a or self.only_in_b or self.tensors)


def compare_archives(a: Path | str, b: Path | str) -> Comparison:
    """Compare two checkpoints, or archives of another kind.

    Raises NotAnArchiveError for a file of another kind and the rest of the ArchiveError family where one cannot be
    read.
    """
    with Archive.open(a) as one, Archive.open(b) as other:
        shared = [name for name in one.manifest.components if name in other.manifest.components]
        sides = [[_Contents.read_from(archive, name) for name in shared] for archive in (one, other)]
        sections = {
            "options": differences(_options(one), _options(other)),
            **{name: differences(_extra(one, keys), _extra(other, keys)) for name, keys in _SECTIONS.items()},
            "versions": differences(_versions(one), _versions(other)),
            "files": differences(_files(one), _files(other)),
            "values": differences(
                *aligned(*({side.component: side.values for side in contents} for contents in sides))
            ),
        }
        found = [difference for pair in zip(*sides, strict=True) for difference in _tensors(*pair)]
        return Comparison(
            MappingProxyType({name: tuple(listed) for name, listed in sections.items()}),
            tuple(name for name in one.manifest.components if name not in shared),
            tuple(name for name in other.manifest.components if name not in shared),
            tuple(difference for difference in found if difference is not None),
            found.count(None),
        )


@dataclass(frozen=True)
class _Contents:
    """One component: its plain values, its tensors by dotted name, and how one of them is read."""

    component: str
    values: Tree
    names: Mapping[_Path, TensorName]
    forms: Mapping[_Path, Form]
    digests: Mapping[_Path, str]
    read: "Callable[[TensorName], torch.Tensor]"

    @classmethod
    def read_from(cls, archive: Archive, component: str) -> "_Contents":
        """Read a component's structure and table."""
        names: dict[_Path, TensorName] = {}
        values = _without_tensors(archive.outline(component), (), names)
        rows = {row.name: row for row in archive.tensor_table(component)}
        missing = sorted({stored.name for stored in names.values()} - rows.keys())
        if missing:
            raise DamagedArchiveError(
                f"could not compare '{archive.path}': expected the tensor '{missing[0]}' of component '{component}', "
                "found none. Use another copy of the file."
            )
        forms = {path: _form(rows[stored.name], stored.note) for path, stored in names.items()}
        digests = {path: rows[stored.name].digest for path, stored in names.items()}
        return cls(component, values, names, forms, digests, archive.tensor_reader(component))


def _without_tensors(tree: Tree, path: _Path, found: dict[_Path, TensorName]) -> Tree:
    """Take the tensors out of a tree, into `found` by path."""
    if isinstance(tree, TensorName):
        found[path] = tree
        return "(a tensor)"
    if isinstance(tree, Mapping):
        items = cast(Mapping[str | int, Tree], tree).items()
        kept = {key: (value, _without_tensors(value, (*path, key), found)) for key, value in items}
        rest = {key: rest for key, (value, rest) in kept.items() if not isinstance(value, TensorName)}
        return Emptied() if kept and all(isinstance(value, Emptied) for value in rest.values()) else rest
    if isinstance(tree, list | tuple):
        inner = [_without_tensors(value, (*path, i), found) for i, value in enumerate(cast(list[Tree], tree))]
        return inner if isinstance(tree, list) else tuple(inner)
    return tree


def _form(row: TensorRow, note: str | None) -> Form:
    if note is None:
        return Form(row.dtype, row.shape)
    return Form(note, row.shape[:-1] if note.startswith("complex") else row.shape)


def _tensors(a: _Contents, b: _Contents) -> Iterator[TensorDifference | None]:
    """Compare the tensors of a component; None stands for two that are equal."""
    for path in dict.fromkeys([*a.names, *b.names]):
        name = ".".join(map(str, path))
        one, other = a.forms.get(path), b.forms.get(path)
        if one is None or other is None or one != other:
            yield TensorDifference(a.component, name, one, other)
        elif a.digests[path] == b.digests[path]:
            yield None
        else:
            found = distance(a.read(a.names[path]), b.read(b.names[path]))
            yield TensorDifference(a.component, name, one, other, found)


def _options(archive: Archive) -> dict[str, Any]:
    """Read the saved options; text that is no section is compared as a whole, under the file's name."""
    if OPTIONS not in archive.manifest.files:
        return {}
    text = archive.file(OPTIONS).decode(errors="replace")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        data = text
    if data is None:
        return {}
    return cast(dict[str, Any], data) if isinstance(data, dict) else {OPTIONS: data}


def _extra(archive: Archive, keys: tuple[str, ...]) -> dict[str, Any]:
    """Return some of the writer's keys; one that is a section stands for what is in it."""
    extra = archive.manifest.extra
    if len(keys) == 1:
        only = extra.get(keys[0], {})
        return cast(dict[str, Any], only) if isinstance(only, dict) else {keys[0]: only}
    return {key: extra[key] for key in keys if key in extra}


def _versions(archive: Archive) -> dict[str, Any]:
    return {
        "kind": archive.manifest.kind,
        "container": archive.manifest.format_version,
        **_extra(archive, ("versions",)),
    }


def _files(archive: Archive) -> dict[str, str]:
    entries = archive.manifest.entries
    return {name: entries[name].digest for name in archive.manifest.files if name != OPTIONS}
