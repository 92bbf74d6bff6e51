"""Say with which task a run begins and with which it ends, where it is not to learn all of them.

Tasks count from 0. `course.start_from` is the first that is learned; `course.stop_after` is how many are done in the
end, so that a run which starts from N goes on where one that stopped after N ended. So it is in Mammoth (`train` in
`utils/training.py`: https://github.com/aimagelab/mammoth).
Failure: OptionsError for tasks that there are not, ResumeError where nothing is left to learn; before anything is
computed.
"""

from milepost.errors import OptionsError, ResumeError
from milepost.options import CourseOptions
from milepost.run.course import Course
from milepost.run.session import TrainingState
from milepost.run.skipping import SkippedSteps


def check_bounds(options: CourseOptions, course: Course, *, tasks: int) -> None:
    """Refuse tasks that there are not; where the course has fewer than the data, all are learned as one."""
    given = {"start_from": options.start_from, "stop_after": options.stop_after}
    named = {name: number for name, number in given.items() if number is not None}
    if named and course.tasks < tasks:
        found = " and ".join(f"course.{name}={number}" for name, number in named.items())
        raise OptionsError(
            f"could not lay out the run: expected no limits where all tasks are learned at once, found {found}. "
            "Remove them, or choose another learner."
        )
    highest = {"start_from": course.tasks - 1, "stop_after": course.tasks}
    wrong = [f"course.{n}: expected at most {highest[n]}, found {v}" for n, v in named.items() if v > highest[n]]
    if wrong:
        there_are = "1 task" if course.tasks == 1 else f"{course.tasks} tasks"
        raise OptionsError(
            f"could not lay out the run of {there_are}: {'; '.join(wrong)}. Tasks count from 0, and stop_after says "
            "how many are done."
        )


def end_of_run(options: CourseOptions, course: Course) -> int:
    """Return the number of steps after which the run is done."""
    return course.total_steps if options.stop_after is None else course.first_step(options.stop_after)


def go_to_first(options: CourseOptions, state: TrainingState) -> None:
    """Take a state that no step of this run was taken from to the first task that is to be learned."""
    if options.start_from is None:
        return
    state.position.step = state.course.first_step(options.start_from)
    if state.matrix is not None:
        state.matrix.forget(options.start_from)


def go_to_task(state: TrainingState, task: int) -> None:
    """Take a state between two tasks to the first step of the later one, in a course that counts other steps."""
    state.position.step = state.course.first_step(task)
    state.skipped = SkippedSteps()  # they are steps of the other course


def check_something_left(options: CourseOptions, state: TrainingState, where: str) -> None:
    """Refuse to begin with a file after which there is nothing to learn; a run of no steps at all is one to measure."""
    done, end = state.course.tasks_done(state.position.step), end_of_run(options, state.course)
    if state.position.step >= max(end, 1):
        last = state.course.tasks if options.stop_after is None else options.stop_after
        raise ResumeError(
            f"could not go on from '{where}': expected a task to learn up to number {last - 1}, found {done} tasks "
            "done. Name the first task to be learned again with --start-from, or raise --stop-after."
        )


def after_tasks(options: CourseOptions, done: int, tasks: int) -> str:
    """Say that a run ended before all of its tasks were done, as it was asked to; nothing where it was not."""
    return f"after {done} of {tasks} tasks" if options.stop_after is not None and done < tasks else ""
