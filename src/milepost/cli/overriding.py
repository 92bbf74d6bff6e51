"""Complete what the command line sets, where a key means more than its value.

Promise: `-r learner.name=X` chooses a learner whatever keys the file gives to another; `-r tasks.KEY=…` works on tasks
that the file gives by name alone. Everything else is left as it is.
"""

from pathlib import Path

from milepost.options import find_value


def completed_overrides(path: Path, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Return overrides that mean what was asked for, for `load_options`. OptionsError where the file can't be read."""
    return (*_another_learner(path, overrides), *_named_tasks(path, overrides), *overrides)


def _another_learner(path: Path, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Drop the file's section of a learner where another is asked for: its keys mean nothing to that one."""
    if not any(text.startswith("learner.name=") for text in overrides):
        return ()
    before, after = find_value(path, "learner.name"), find_value(path, "learner.name", overrides)
    return () if before in (None, after) else ("learner=null",)


def _named_tasks(path: Path, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Write tasks that are given by the name of a benchmark as a section, to which keys can be added."""
    name = find_value(path, "tasks")
    added = any(text.startswith("tasks.") for text in overrides)
    return (f"tasks={{benchmark: {name}}}",) if isinstance(name, str) and added else ()
