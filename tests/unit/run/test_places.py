"""A number of steps means a place in one course; in another it is that place or none."""

import pytest

from milepost.checkpoint import Segment
from milepost.errors import ResumeError
from milepost.learning import Stretch
from milepost.options import TrainingOptions
from milepost.run.places import between_tasks, check_task, moved, refusal, same_place
from unit.run.test_course import Planner, course


def of(epochs=2, **training):
    """Lay out tasks of two, three and one steps a pass."""
    return course(8, 12, 3, epochs=epochs, **training)


def test_in_the_same_course_every_step_is_the_same_place():
    own = of()
    assert all(same_place(own, of(), step) for step in range(own.total_steps + 1))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (of(3), [0, 1, 2, 3]),  # the first task, and neither its end nor anything behind
        (of(1), [0, 1]),
        (of(steps=3), [0, 1, 2]),
        (of(epochs=0), [0]),
    ],
)
def test_in_another_course_only_the_first_task_is(other, same):
    own = of()
    assert [step for step in range(own.total_steps + 1) if same_place(own, other, step)] == same


def test_the_end_is_the_end_in_both_or_in_none():
    own, ends = of(), of().total_steps
    assert not same_place(of(3), own, ends)
    assert not same_place(own, of(3), ends)


def test_without_tasks_any_number_of_steps_means_the_same():
    assert same_place(course(23), course(23, epochs=9), 12)


def test_stretches_of_a_task_are_places_too():
    def planned(epochs):
        learner = Planner(Stretch(epochs=1, trains=False), Stretch("buffer", epochs=epochs, count=5))
        return course(8, 12, learner=learner)

    own, other = planned(3), planned(1)
    assert [step for step in range(own.total_steps + 1) if same_place(own, other, step)] == [0, 1, 2, 3]


def test_between_tasks_is_where_one_has_ended():
    own = of()
    assert [step for step in range(own.total_steps + 1) if between_tasks(own, step)] == [4, 10, 12]


def test_segments_begin_in_the_task_in_which_they_began():
    own, other = of(), of(1)
    segments = tuple(Segment(step, {"step": step}) for step in (0, 3, 4, 8, 12))
    assert [segment.step for segment in moved(own, other, segments)] == [0, 2, 2, 5, 6]


def test_a_state_whose_file_says_another_task_is_refused():
    own = of()
    check_task(own, 4, 0, "a.ckpt")
    check_task(course(23), 4, 3, "a.ckpt")
    with pytest.raises(ResumeError, match=r"expected step 5 in task 0, as the file says, found it in task 1 "):
        check_task(own, 5, 0, "a.ckpt")


@pytest.mark.parametrize(
    ("step", "begins", "place", "remedy"),
    [
        (5, True, "task 1 half done", "Give the file of a task's end, as --savecheck task leaves it."),
        (5, False, "task 1 half done", "Restore it; once the task has ended, as with --stop-after 2, a new run"),
        (4, False, "1 of 3 tasks done", "--loadcheck 'a.ckpt' in the place of --restart"),
        (12, False, "3 of 3 tasks done", "--loadcheck 'a.ckpt' --start-from N in the place of --restart"),
    ],
)
def test_a_refusal_says_what_to_do(step, begins, place, remedy):
    saved, given = TrainingOptions(epochs=2), TrainingOptions(epochs=2, steps=9)
    text = str(refusal(of(), step, saved, given, "a.ckpt", begins=begins))
    assert text.startswith(f"could not {'begin with' if begins else 'continue from'} 'a.ckpt', {place}: ")
    assert "expected the saved architecture.training.steps=null, found 9" in text
    assert remedy in text
