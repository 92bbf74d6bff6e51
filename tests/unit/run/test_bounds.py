"""A run can begin and end with tasks of its stream, and with no others."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from milepost.errors import OptionsError, ResumeError
from milepost.learning import Stretch, TaskMatrix
from milepost.options import CourseOptions
from milepost.run.bounds import after_tasks, check_bounds, check_something_left, end_of_run, go_to_first
from milepost.run.course import Course, Leg
from milepost.run.order import BatchOrder
from milepost.run.session import Position, TrainingState


def course(*lengths: int) -> Course:
    """Lay out tasks of so many steps."""
    legs, first = [], 0
    for task, steps in enumerate(lengths):
        order = BatchOrder(0, max(1, steps), 1, task=task)
        legs.append(Leg(task, Stretch(), first, steps, order, torch.arange(steps), 0, begins=True, ends=True))
        first += steps
    return Course(legs, len(lengths))


def state(step: int, *lengths: int) -> TrainingState:
    """Stand at a step."""
    position = Position()
    position.step = step
    matrix = TaskMatrix(["a", "b", "c"][: len(lengths)], {"accuracy": "max"})
    for row in range(len(lengths)):
        matrix.add(row, [{"accuracy": 1.0}] * (row + 1))
    return cast(TrainingState, SimpleNamespace(position=position, course=course(*lengths), matrix=matrix))


@pytest.mark.parametrize(("after", "expected"), [(None, 9), (1, 2), (2, 5), (3, 9)])
def test_a_run_ends_after_so_many_tasks(after: int | None, expected: int) -> None:
    assert end_of_run(CourseOptions(stop_after=after), course(2, 3, 4)) == expected


@pytest.mark.parametrize(("first", "step", "last"), [(None, 7, 2), (0, 0, None), (1, 2, 0), (2, 5, 1)])
def test_a_run_begins_with_a_task(first: int | None, step: int, last: int | None) -> None:
    standing = state(7, 2, 3, 4)
    go_to_first(CourseOptions(start_from=first), standing)
    assert standing.position.step == step
    assert standing.matrix is not None
    assert standing.matrix.last == last


def test_a_run_without_tasks_begins_too() -> None:
    standing = cast(Any, state(0, 5))
    standing.matrix = None
    go_to_first(CourseOptions(start_from=0), standing)
    assert standing.position.step == 0


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"start_from": 3}, "course.start_from: expected at most 2, found 3"),
        ({"stop_after": 4}, "course.stop_after: expected at most 3, found 4"),
        (
            {"start_from": 3, "stop_after": 5},
            "course.start_from: expected at most 2, found 3; course.stop_after: expected at most 3, found 5",
        ),
    ],
)
def test_tasks_that_there_are_not(given: dict[str, int], problems: str) -> None:
    with pytest.raises(OptionsError) as caught:
        check_bounds(CourseOptions(**given), course(1, 1, 1), tasks=3)
    assert str(caught.value) == (
        f"could not lay out the run of 3 tasks: {problems}. Tasks count from 0, and stop_after says how many are done."
    )


def test_tasks_that_there_are() -> None:
    check_bounds(CourseOptions(start_from=2, stop_after=3), course(1, 1, 1), tasks=3)
    check_bounds(CourseOptions(start_from=0, stop_after=1), course(1), tasks=0)
    check_bounds(CourseOptions(), course(1), tasks=5)
    with pytest.raises(OptionsError, match="the run of 1 task: "):
        check_bounds(CourseOptions(stop_after=2), course(1), tasks=0)


def test_all_at_once_has_no_limits() -> None:
    with pytest.raises(OptionsError) as caught:
        check_bounds(CourseOptions(start_from=0, stop_after=1), course(1), tasks=5)
    assert str(caught.value) == (
        "could not lay out the run: expected no limits where all tasks are learned at once, found course.start_from=0 "
        "and course.stop_after=1. Remove them, or choose another learner."
    )


@pytest.mark.parametrize(("step", "after", "last", "done"), [(9, None, 2, 3), (5, 2, 1, 2), (7, 2, 1, 2)])
def test_nothing_is_left(step: int, after: int | None, last: int, done: int) -> None:
    with pytest.raises(ResumeError) as caught:
        check_something_left(CourseOptions(stop_after=after), state(step, 2, 3, 4), "a.ckpt")
    assert str(caught.value) == (
        f"could not go on from 'a.ckpt': expected a task to learn up to number {last}, found {done} tasks done. "
        "Name the first task to be learned again with --start-from, or raise --stop-after."
    )


def test_something_is_left() -> None:
    check_something_left(CourseOptions(), state(8, 2, 3, 4), "a.ckpt")
    check_something_left(CourseOptions(stop_after=2), state(4, 2, 3, 4), "a.ckpt")
    check_something_left(CourseOptions(), state(0, 0, 0), "a run of no steps is there to be measured")


def test_the_record_says_where_a_run_ended() -> None:
    assert after_tasks(CourseOptions(stop_after=2), 2, 5) == "after 2 of 5 tasks"
    assert after_tasks(CourseOptions(stop_after=5), 5, 5) == after_tasks(CourseOptions(), 2, 5) == ""
