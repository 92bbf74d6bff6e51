"""A run stops at the last step boundary from which the next one and a save still fit."""

import pytest

from milepost.run.deadline import UNKNOWN_RATE, Deadline


class Clock:
    """Tell a time that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def boundaries(deadline: Deadline, clock: Clock, *steps: float) -> list[bool]:
    """Pass a boundary, take steps of these lengths, and pass one after each."""
    answers = [deadline.passed()]
    for seconds in steps:
        clock.now += seconds
        answers.append(deadline.passed())
    return answers


def make(limit: float) -> tuple[Deadline, Clock]:
    clock = Clock()
    return Deadline(clock.now + limit, limit, clock=clock), clock


@pytest.mark.parametrize(("limit", "margin"), [(1.0, 0.1), (60.0, 6.0), (100.0, 10.0), (86400.0, 10.0)])
def test_the_margin_is_ten_seconds_or_a_tenth_of_a_short_limit(limit: float, margin: float) -> None:
    deadline, clock = make(limit)
    assert deadline.reserve == pytest.approx(margin)
    clock.now += limit - margin - 0.01
    assert not deadline.passed()


def test_it_stops_where_the_longest_step_so_far_would_not_fit() -> None:
    deadline, clock = make(100.0)
    # 100 s less the margin of 10 s and the longest step of 30 s: 60 s are the last that may have passed.
    assert boundaries(deadline, clock, 5.0, 30.0, 5.0, 5.0, 14.0) == [False] * 6
    assert boundaries(deadline, clock, 1.0) == [False, True]


def test_what_fits_does_fit() -> None:
    """Wherever the run goes on, a step as long as the longest and two saves end before the margin begins."""
    deadline, clock = make(500.0)
    deadline.saved(7.0)
    boundaries(deadline, clock, 3.0, 11.0)
    steps = 0
    while not deadline.passed():
        assert clock.now + 11.0 + 2 * 7.0 + 10.0 < deadline.end
        clock.now += (2.0, 11.0)[steps % 2]
        steps += 1
    assert steps > 50
    assert deadline.left >= 2 * 7.0 + 10.0, "time for a save and the way out"
    assert deadline.left < 2 * 7.0 + 10.0 + 2 * 11.0, "no more time was given away than a step"


def test_two_saves_have_to_fit() -> None:
    deadline, clock = make(1000.0)
    deadline.saved(20.0)
    deadline.saved(5.0)
    assert deadline.reserve == 2 * 20.0 + 10.0
    clock.now += 949.0
    assert not deadline.passed()
    clock.now += 0.5
    assert deadline.passed()


def test_before_a_save_was_timed_its_size_tells_and_then_no_longer() -> None:
    deadline, _ = make(1000.0)
    deadline.expect(int(30 * UNKNOWN_RATE))
    assert deadline.reserve == 2 * 30.0 + 10.0
    deadline.saved(4.0)
    assert deadline.reserve == 2 * 4.0 + 10.0
    deadline.saved(3.0)
    assert deadline.reserve == 2 * 4.0 + 10.0


def test_a_deadline_that_is_past_stops_at_once() -> None:
    deadline, clock = make(100.0)
    clock.now += 200.0
    assert deadline.passed()
    assert deadline.left == -100.0


def test_a_set_up_is_no_step() -> None:
    """What passed before the first boundary is over and comes only once."""
    deadline, clock = make(100.0)
    clock.now += 50.0
    assert boundaries(deadline, clock, 1.0) == [False, False]
    assert deadline.reserve == 1.0 + 10.0
