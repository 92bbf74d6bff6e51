"""Options of `milepost train` for sequences of tasks, most of them known from Mammoth: each sets a key, and no more.

Promise: what a run does follows from its options file and the keys set here, so that it is kept with the run.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

FOLDER = "tasks.data_dir"
"""Key that `--data-dir` sets."""

KEPT = "milepost.cli.task_options"
"""Key under which click keeps what was given on the command line."""

TOGETHER = ("learner=null", "learner.name=joint")
"""What `--joint` sets: the keys of another learner mean nothing to this one."""


def given() -> tuple[str, ...]:
    """Return what the options set, as `-r` would be given it."""
    kept: list[str] = click.get_current_context().meta.get(KEPT, [])
    return tuple(kept)


def task_options(command: Decorated) -> Decorated:
    """Add the options to a command; `given` returns what they set."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _keep(context: click.Context, typed: str, *overrides: str) -> None:
    from milepost.options.overrides import Typed  # pydantic comes with it, which no page of help needs

    context.meta.setdefault(KEPT, []).extend(Typed(override, typed) for override in overrides)


def _keep_value(context: click.Context, parameter: click.Parameter, key: str, value: Any) -> None:
    if value is not None:
        _keep(context, f"{parameter.opts[0]} {value}", f"{key}={json.dumps(value, ensure_ascii=False)}")


def _set(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    _keep_value(context, parameter, f"course.{parameter.name}", value)


def _set_folder(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    _keep_value(context, parameter, FOLDER, value)


def _set_file(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    from milepost.options.addresses import SECRET, may_hold_a_secret

    if value is not None and may_hold_a_secret(value):
        raise click.BadParameter(SECRET)  # which says it without repeating it
    _set(context, parameter, value)


def _join(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        _keep(context, parameter.opts[0], *TOGETHER)


_OPTIONS = (
    click.option("--data-dir", metavar="FOLDER", default=None, callback=_set_folder, expose_value=False,
                 help="Folder with the files of the benchmark that the options name."),
    click.option("--savecheck", type=click.Choice(["task", "last"]), default=None, callback=_set, expose_value=False,
                 help="Put a checkpoint into the folder checkpoints when a task ends: each, or the last."),
    click.option("--loadcheck", metavar="FILE|URL", default=None, callback=_set_file, expose_value=False,
                 help="Begin with a checkpoint: of Milepost, of Mammoth, or plain weights."),
    click.option("--ckpt-name", "--ckpt_name", metavar="NAME", default=None, callback=_set, expose_value=False,
                 help="What the names of the files in checkpoints begin with."),
    click.option("--start-from", "--start_from", type=int, metavar="TASK", default=None, callback=_set,
                 expose_value=False, help="First task to be learned, counted from 0."),
    click.option("--stop-after", "--stop_after", type=int, metavar="TASKS", default=None, callback=_set,
                 expose_value=False, help="End once so many tasks are done."),
    click.option("--joint", is_flag=True, callback=_join, expose_value=False,
                 help="Learn all tasks at once: the learner 'joint'."),
)  # fmt: skip
