"""Find out which tensors of a file belong to which parameters of a module, when both name them in their own way.

Promise: names are compared as rows of whole components, the parts between dots: what wrappers put in, `module` of
DataParallel and DistributedDataParallel and `_orig_mod` of torch.compile, does not count, on either side; and a
first component that names of the file have in common may be left away. No name is ever cut in the middle, and a part of
a model that is itself named `module` stays one. Nothing is loaded here.
Failure: none; everything that does not fit is listed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from milepost.archive.tensors import identity

WRAPPERS = frozenset({"module", "_orig_mod"})
"""Components of names that a wrapper around a module adds."""

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Fit:
    """Hold what fits: `tensors` by the module's names, `names` from those to the file's.

    `missing` are parameters of the module that the file has nothing for, `unexpected` are tensors of the file that have
    no place in the module, each with its shape; `mismatched` says of a name what was expected and what was found;
    `cast` says which tensors come in another precision.
    """

    tensors: Tensors
    names: Mapping[str, str]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()

    def report(self) -> tuple[str, ...]:
        """Say what is loaded and what is not, and why: a line for each thing."""
        count = len(self.tensors) + len(self.missing) + len(self.mismatched)
        return (
            f"loaded: {len(self.tensors)} of {count} tensors",
            *(f"loaded in another precision: {line}" for line in self.cast),
            *(f"not loaded, of another shape: {line}" for line in self.mismatched),
            *(f"not loaded, the file has none: '{name}'" for name in self.missing),
            *(f"not used, the model has no place for it: {name}" for name in self.unexpected),
        )


def plain_name(name: str) -> str:
    """Leave the components away that wrappers put into a name."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def fit(wanted: Tensors, given: Tensors) -> Fit:
    """Find for every tensor that is `wanted` the one that is `given` under its name; `given` is not changed.

    Two names of one given tensor count as one: what is loaded under one of them is not listed as unused.
    """
    names = max(_readings(wanted, given), key=len)
    tensors: dict[str, torch.Tensor] = {}
    mismatched: list[str] = []
    cast: list[str] = []
    for name in (name for name in wanted if name in names):
        expected, found = wanted[name], given[names[name]]
        if expected.shape != found.shape or expected.is_floating_point() != found.is_floating_point():
            mismatched.append(f"'{name}': expected {_form(expected)}, found {_form(found)}")
            continue
        if expected.dtype != found.dtype:
            cast.append(f"'{name}': expected {_form(expected)}, found {_form(found)}")
        tensors[name] = found
    taken = {identity(given[name]) for name in names.values()}
    return Fit(
        tensors,
        {name: names[name] for name in tensors},
        missing=tuple(name for name in wanted if name not in names),
        unexpected=tuple(f"'{name}', {_form(value)}" for name, value in given.items() if identity(value) not in taken),
        mismatched=tuple(mismatched),
        cast=tuple(cast),
    )


def _readings(wanted: Tensors, given: Tensors) -> Iterable[dict[str, str]]:
    """Match names as they are, then those of each common first component without it."""
    yield _matched(wanted, {name: name for name in given})
    parts = {name: plain_name(name).partition(".") for name in given}
    for first in dict.fromkeys(first for first, _, rest in parts.values() if rest):
        yield _matched(wanted, {name: rest for name, (head, _, rest) in parts.items() if head == first and rest})


def _matched(wanted: Tensors, views: Mapping[str, str]) -> dict[str, str]:
    """Map names of `wanted` to names of the file, whose `views` are compared: first whole, then without wrappers."""
    whole = {view: name for name, view in views.items()}
    plain = _single(views)
    mine = _single({name: name for name in wanted})
    found: dict[str, str] = {}
    for name in wanted:
        if name in whole:
            found[name] = whole[name]
        elif mine.get(plain_name(name)) == name and plain_name(name) in plain:
            found[name] = plain[plain_name(name)]
    return found


def _single(views: Mapping[str, str]) -> dict[str, str]:
    """Map plain names to names; plain names that two have mean neither."""
    counted = Counter(plain_name(view) for view in views.values())
    return {plain_name(view): name for name, view in views.items() if counted[plain_name(view)] == 1}


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
