"""Say where in one course a state stands that was reached in another: with other `epochs` or `steps`.

A number of steps says where a run stands in its own course alone. In a course of several legs whose lengths differ, the
same number lies in another task, or at another place of its passes.
Promise: a state goes on only where it stands, in the course at hand, as it stood in its own: the same legs are behind
it, in as many passes, and it is as far in the next one. A state between two tasks, with which a new run begins, is put
between the same two; what is ahead then follows the new lengths.
Failure: ResumeError for any other place, with what to do instead.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from milepost.checkpoint import Segment
from milepost.errors import ResumeError
from milepost.options import TrainingOptions
from milepost.run.course import Course

TRAINING = "architecture.training"


def same_place(own: Course, other: Course, step: int) -> bool:
    """Tell whether so many steps mean in another course what they mean in the state's own."""
    if len(own.legs) == 1 or step == 0:
        return True
    here, there = own.leg(step), other.leg(step)
    as_far = (here.task, here.begins, here.first, here.epochs_before) == (
        there.task, there.begins, there.first, there.epochs_before,
    )  # fmt: skip
    whole = step >= own.total_steps
    return as_far and whole == (step >= other.total_steps)


def between_tasks(own: Course, step: int) -> bool:
    """Tell whether a state stands between two tasks, or behind the last."""
    leg = own.ended(step)
    return leg is not None and leg.ends


def moved(own: Course, other: Course, lineage: Sequence[Segment]) -> tuple[Segment, ...]:
    """Put the beginnings of segments where they are in another course, as nearly as it has them."""
    return tuple(replace(segment, step=_nearest(own, other, segment.step)) for segment in lineage)


def _nearest(own: Course, other: Course, step: int) -> int:
    here = own.leg(step)
    there = next(other.legs[number] for number, leg in enumerate(own.legs) if leg is here)
    return there.first + min(step - here.first, there.steps)


def check_task(own: Course, step: int, task: int | None, where: Path | str) -> None:
    """Refuse a state whose file says another task than its step lies in: its course was laid out in another way."""
    if task is not None and len(own.legs) > 1 and own.task(step) != task:
        raise ResumeError(
            f"could not continue from '{where}': expected step {step} in task {task}, as the file says, found it in "
            f"task {own.task(step)} of the course that its options lay out. Continue with the version of Milepost "
            "that wrote the file."
        )


def refusal(
    own: Course, step: int, saved: TrainingOptions, given: TrainingOptions, where: Path | str, *, begins: bool
) -> ResumeError:
    """Say why a state can't go on in a course of other lengths; `begins` says that a new run was to begin with it."""
    key = "steps" if saved.steps != given.steps else "epochs"
    done = own.tasks_done(step)
    place = f"{done} of {own.tasks} tasks done" if between_tasks(own, step) else f"task {own.leg(step).task} half done"
    if begins:
        remedy = "Give the file of a task's end, as --savecheck task leaves it."
    elif not between_tasks(own, step):
        remedy = (
            f"Restore it; once the task has ended, as with --stop-after {own.leg(step).task + 1}, a new run that "
            "begins with that state by --loadcheck can have another."
        )
    else:
        first = " --start-from N" if done == own.tasks else ""
        remedy = (
            f"Begin a new run with it: give --loadcheck '{where}'{first} in the place of --restart, and another -o."
        )
    return ResumeError(
        f"could not {'begin with' if begins else 'continue from'} '{where}', {place}: expected the saved "
        f"{TRAINING}.{key}={_shown(getattr(saved, key))}, found {_shown(getattr(given, key))}, with which step {step} "
        f"lies elsewhere among the tasks. {remedy}"
    )


def _shown(value: int | None) -> str:
    return "null" if value is None else str(value)
