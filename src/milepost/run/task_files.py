"""Put a checkpoint of each task into the folder `checkpoints`, under the names that users of Mammoth know.

    checkpoints/[<ckpt_name>_]<model>_<dataset>_<buffer_size>_<n_epochs>_<timestamp>_<task>.ckpt

`model` is the learner, `dataset` the benchmark, `buffer_size` 0 where nothing is kept, `n_epochs` as in `300steps`
where the length is given in steps, `timestamp` that of the run's start, the same for all its tasks, and `task` counts
from 0, or is `joint`
(https://aimagelab.github.io/mammoth/getting_started/checkpoints.html).

Promise: a file is whole at every instant, is a copy that needs no other file, and never replaces one of another run:
where a run of the same names began in the same second, this one's timestamp gets a number behind it.
Failure: CommitError where a file can't be written.
"""

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from milepost.archive import Durability, atomic_write
from milepost.checkpoint import describe_checkpoint, discard_drafts
from milepost.errors import OverwriteError
from milepost.options import RootOptions
from milepost.options.model import plain_data
from milepost.run.course import Course
from milepost.run.directory import make_folder
from milepost.run.record import RunRecord

FOLDER = "checkpoints"
JOINT = "joint"
SUFFIX = ".ckpt"
TIME = "%Y%m%d-%H%M%S"

_OTHER = re.compile(r"[^A-Za-z0-9.+-]+")
_LONGEST = 60


Which = Literal["task", "last"]
"""Of which tasks a file is put there: of each, or of the last one that the run learns."""


@dataclass(frozen=True)
class TaskFiles:
    """Put the checkpoints in which tasks end into a folder. `last` is the task that ends the run, None where all tasks
    are learned at once.
    """

    folder: Path
    base: str
    which: Which
    last: int | None
    durability: Durability = "power"

    def ended(self, checkpoint: Path, task: int, run_id: str) -> Path | None:
        """Take note of a committed checkpoint in which a task ends; return the file that was made of it, if one was."""
        if self.which == "last" and self.last is not None and task != self.last:
            return None
        number = None if self.last is None else task
        return publish_task(checkpoint, self.folder, self.base, number, run_id, durability=self.durability)


def task_files(options: RootOptions, folder: Path, record: RunRecord, course: Course) -> TaskFiles | None:
    """Read off the options which files a run leaves in `folder/checkpoints`; None for none."""
    chosen = options.course
    if chosen.savecheck is None:
        return None
    data = plain_data(options)
    training = data["architecture"]["training"]
    base = task_base(
        learner=options.learner.name,
        data=data_name(data.get("tasks")),
        buffer_size=data["learner"].get("buffer_size"),
        epochs=training["epochs"],
        steps=training["steps"],
        created=record.created,
        given=chosen.ckpt_name,
    )
    last = None if options.learner.name == JOINT else (chosen.stop_after or course.tasks) - 1
    return TaskFiles(folder / FOLDER, base, chosen.savecheck, last, options.checkpoints.durability)


def task_base(
    *,
    learner: str,
    data: str,
    buffer_size: int | None,
    epochs: int,
    steps: int | None = None,
    created: str,
    given: str | None = None,
) -> str:
    """Return what the names of all files of a run begin with; `created` is when it began, in ISO 8601.

    A length in `steps` goes before one in epochs, as it does in the run.
    """
    parts = [given] if given else []
    parts += [_part(learner), _part(data), str(buffer_size or 0), str(epochs) if steps is None else f"{steps}steps"]
    return "_".join((*parts, datetime.fromisoformat(created).strftime(TIME)))


def data_name(tasks: Any) -> str:
    """Name the data of a run by its options: the benchmark, or the tasks in turn, as far as a name is long."""
    benchmark = tasks.get("benchmark") if isinstance(tasks, dict) else None
    if isinstance(benchmark, str):
        return benchmark
    named = [str(task.get("name")) for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    joined = "+".join(map(_part, named))
    return joined if named and len(joined) <= _LONGEST else f"{len(named) or 1}-tasks"


def publish_task(
    checkpoint: Path, folder: Path, base: str, task: int | None, run_id: str, *, durability: Durability = "power"
) -> Path:
    """Put a committed checkpoint of a run under the name of a task, None for all at once; return where it is.

    A file that this run put there before is replaced.
    """
    make_folder(folder)
    number = 1
    while True:
        name = base if number == 1 else f"{base}-{number}"
        target = folder / f"{name}_{JOINT if task is None else task}{SUFFIX}"
        if all(_owner(path) == run_id for path in _files(folder, name)):
            discard_drafts(folder, target.name)
            with suppress(OverwriteError), checkpoint.open("rb") as stream:  # unless it is taken this very moment
                atomic_write(
                    target, partial(shutil.copyfileobj, stream), durability=durability, overwrite=target.exists()
                )
                return target
        number += 1


def _files(folder: Path, base: str) -> list[Path]:
    """List the files of a base name: those of its tasks, and of all at once."""
    pattern = re.compile(rf"{re.escape(base)}_(\d+|{JOINT}){re.escape(SUFFIX)}")
    return [path for path in folder.iterdir() if pattern.fullmatch(path.name)]


def _owner(path: Path) -> str | None:
    """Return the run that a file is of; None for one that is not ours, or can't be read."""
    found = describe_checkpoint(path)
    return None if found is None else found.run_id


def _part(text: str) -> str:
    """Leave out of a name what can't be in a file's, and what separates its parts."""
    return _OTHER.sub("-", text).strip("-") or "unnamed"
