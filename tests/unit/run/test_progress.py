"""The bar goes on where it was; the time left comes from the speed of this process alone."""

import io

import pytest
from rich.console import Console

from milepost.run.progress import Pace, Reporter, duration
from unit.run.test_heartbeat import Clock


def test_the_speed_is_that_of_this_process_without_its_first_step() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.begin(1000, 2000)
    assert pace.speed(1000) is None
    assert pace.seconds_left(1000) is None
    clock.now += 60  # the compiler
    pace.step(1001)
    assert pace.speed(1001) is None
    clock.now += 10
    pace.step(1021)
    assert pace.speed(1021) == 2.0
    assert pace.seconds_left(1021) == 979 / 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-:--:--"), (0.4, "0:00:00"), (61, "0:01:01"), (360_000, "100:00:00")]
)
def test_times_are_written_in_hours(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_the_bar_of_a_continued_run_begins_where_it_was() -> None:
    screen = io.StringIO()
    reporter = Reporter(Console(file=screen, force_terminal=True, width=100))
    with reporter.begin(70, 100):
        pass
    assert "70/100" in screen.getvalue()


def test_lines_tell_the_time_left() -> None:
    screen = io.StringIO()
    reporter = Reporter(Console(file=screen, force_terminal=False, width=100))
    reporter._pace._clock = clock = Clock()
    with reporter.begin(70, 100):
        reporter.step(71)
        reporter.line(71, 0.5, 1e-3)
        clock.now += 4
        reporter.step(73)
        reporter.line(73, 0.5, 1e-3)
    first, second = (line.partition("] ")[2] for line in screen.getvalue().splitlines())
    assert first == "step 71/100  loss 0.5  learning rate 0.001  [-:--:-- left]"
    assert second == "step 73/100  loss 0.5  learning rate 0.001  [0:00:54 left]"
