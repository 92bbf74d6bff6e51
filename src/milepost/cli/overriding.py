"""Complete what the command line sets, where a key means more than its value.

Promise: `-r learner.name=X` chooses a learner whatever keys the file gives to another, with the same memory;
`-r tasks.KEY=…` and `-r learner.KEY=…` work where the file gives a name alone. Everything else is left as it is.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from milepost.cli.task_options import FOLDER
from milepost.learning.registry import learners
from milepost.options import Objection, RootOptions, find_value
from milepost.options.overrides import Typed
from milepost.options.schema import Schema

MEMORY = ("buffer_size", "minibatch_size")
"""Keys that mean the same to every learner that has them."""

NAMED = {"learner": "name", "tasks": "benchmark"}
"""Sections that may be given as a text, and the key whose value that is."""


def completed_overrides(path: Path, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Return overrides that mean what was asked for, for `load_options`. OptionsError where the file can't be read."""
    written_out = [text for section in NAMED for text in _written_out(path, overrides, section)]
    return (*_another_learner(path, overrides), *written_out, *overrides)


def without_folder(
    path: Path, overrides: tuple[str, ...], root: type[RootOptions]
) -> tuple[tuple[str, ...], tuple[Objection, ...]]:
    """Take `--data-dir` away where no benchmark is learned, and say what it needs; else return what is given."""
    flags = [text for text in overrides if isinstance(text, Typed) and text.startswith(f"{FOLDER}=")]
    if not flags:
        return overrides, ()
    others = tuple(text for text in overrides if text not in flags)
    tasks = find_value(path, "tasks", others)
    benchmarks = any("benchmark" in choice.properties for choice in Schema.of(root).at(("tasks",)).choices)
    if benchmarks and not isinstance(tasks, list):
        return overrides, ()
    found = "a list of tasks" if isinstance(tasks, list) else "none"
    text = f"{flags[0].typed}: expected a benchmark under tasks, found {found}; leave it away, paths stand in the file"
    return others, (Objection("tasks", text),)


def learner_name(path: Path, overrides: tuple[str, ...] = ()) -> object:
    """Return what stands in the place of a learner's name; None where there is nothing."""
    whole = find_value(path, "learner", overrides)
    return whole if isinstance(whole, str) else find_value(path, "learner.name", overrides)


def _another_learner(path: Path, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Drop the file's section of a learner where another is asked for: its keys mean nothing to that one, but for what
    is kept of the data, where both keep some.
    """
    if not any(text.startswith("learner.name=") for text in overrides):
        return ()
    before = learner_name(path)
    after = learner_name(path, (*_written_out(path, overrides, "learner"), *overrides))
    return () if before in (None, after) else ("learner=null", *_memory(path, after))


def _memory(path: Path, learner: object) -> Iterator[str]:
    """Set what a file says of a memory for a learner that has one."""
    takes = {name for spec in learners() if spec.name == learner for name in spec.options.model_fields}
    for key in MEMORY:
        value = find_value(path, f"learner.{key}")
        if key in takes and value is not None:
            yield f"learner.{key}={json.dumps(value)}"


def _written_out(path: Path, overrides: tuple[str, ...], section: str) -> tuple[str, ...]:
    """Write a section that is given as a name alone as one to which keys can be added, where any are."""
    name = find_value(path, section)
    added = any(text.startswith(f"{section}.") for text in overrides)
    return (f"{section}={{{NAMED[section]}: {name}}}",) if isinstance(name, str) and added else ()
