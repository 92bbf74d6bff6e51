"""Read an options file for whatever architecture it names, with every mistake in one report.

Promise: an unknown architecture, files that do not exist, and what this machine can't train are reported together
with all other mistakes, each at its line, before anything is computed. Imports torch only for training.
"""

import difflib
import functools
import glob
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from milepost.cli.overriding import completed_overrides, learner_name, without_folder
from milepost.errors import OptionsError
from milepost.learning.registry import learners
from milepost.model import Architecture, architectures, find_architecture
from milepost.options import (
    Objection,
    RootOptions,
    find_value,
    limit_architectures,
    limit_learners,
    load_options,
    with_learner,
)
from milepost.options.checking import Check
from milepost.options.model import plain_data


def read_options(
    path: Path, overrides: tuple[str, ...] = (), *, for_training: bool = False, ancestor: bool = True
) -> tuple[RootOptions, Architecture]:
    """Return the validated options and the architecture that they name.

    `for_training` also asks for every file that the options read to exist, and for an optimizer, metrics and a device
    that there are; without `ancestor`, the checkpoint that fine-tuning started from may be gone, as it may when a run
    is continued.

    Raises OptionsError listing every mistake.
    """
    overrides = completed_overrides(path, overrides)
    name = find_value(path, "architecture.name", overrides)
    known = {architecture.name: architecture for architecture in architectures()}
    checks: list[Check] = [lambda options: _missing_files(options, ancestor=ancestor), _untrainable]
    mistakes = functools.partial(_mistakes, path, overrides)
    chosen = _with_learner(_class_for(name, known, mistakes), learner_name(path, overrides))
    overrides, misplaced = without_folder(path, overrides, chosen)
    checks.append(lambda _: misplaced)
    options = load_options(path, chosen, overrides, checks=checks if for_training else ())
    return options, find_architecture(options.architecture.name)


def _mistakes(path: Path, overrides: tuple[str, ...], root: type[RootOptions]) -> int:
    """Count what is wrong with a file for a class, but for what is nearly right."""
    try:
        load_options(path, root, overrides)
    except OptionsError as error:
        return len(str(error).splitlines()) - str(error).count("did you mean")
    return 0


def _class_for(
    name: object, known: Mapping[str, Architecture], mistakes: Callable[[type[RootOptions]], int]
) -> type[RootOptions]:
    """Return the class for a known name; for another, the nearest one's, in which the name is a mistake."""
    if isinstance(name, str) and name in known:
        return known[name].options_class()
    near = difflib.get_close_matches(str(name), known, n=1)
    if near:
        return limit_architectures(known[near[0]].options_class(), sorted(known))
    if not known:
        return RootOptions
    # What a model of that name takes is unknown: only what all architectures of a domain share can be checked. The
    # domain that is meant is the one that fits best.
    roots = dict.fromkeys(architecture.root_options for architecture in known.values())
    return limit_architectures(min(roots, key=mistakes), sorted(known))


def _with_learner(root: type[RootOptions], name: object) -> type[RootOptions]:
    """Complete a class with the section of a known learner; for another, with one in which the name is a mistake."""
    specs = {spec.name: spec for spec in learners()}
    spec = specs.get("finetune" if name is None else str(name))
    return limit_learners(root, sorted(specs)) if spec is None else with_learner(root, spec.options)


def _untrainable(options: RootOptions) -> Iterator[Objection]:
    from milepost.run.checking import training_objections

    return training_objections(options)


def _missing_files(options: RootOptions, *, ancestor: bool) -> Iterator[Objection]:
    for key, name in _named_files(plain_data(options), ()):
        if "finetune" in key and not ancestor:
            continue
        wrong = _missing(name)
        if wrong:
            yield Objection(".".join(key), wrong)


def _named_files(section: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """List what the options read: `read_from` anywhere, and a set of data that is given as a name."""
    for key, value in section.items():
        here = (*path, key)
        if isinstance(value, Mapping):
            yield from _named_files(value, here)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield from _named_files({str(number): item for number, item in enumerate(value)}, here)
        elif key == "read_from" or (key.endswith("_set") and isinstance(value, str)):
            names: Iterable[object] = value if isinstance(value, list) else [value]
            yield from ((here, name) for name in names if isinstance(name, str))


def _missing(name: str) -> str | None:
    """Say what is wrong with a name or a pattern, relative to the working directory; None if nothing is."""
    path = Path(name).expanduser()
    if glob.has_magic(name):
        found = glob.iglob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        if any(Path(name).is_file() for name in found):
            return None
        return f"expected at least 1 file that matches '{name}', found 0 from '{Path.cwd()}'"
    if path.is_file():
        return None
    if path.is_dir():
        return f"expected a file, found the directory '{name}'"
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    hint = f"; did you mean '{path.with_name(near[0])}'?" if near else ""
    return f"expected a file, found none of the name '{name}' from '{Path.cwd()}'{hint}"
