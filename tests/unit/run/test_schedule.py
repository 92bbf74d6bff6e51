"""Learning rates follow their named course from warm-up to end."""

import math

import pytest

from milepost.options import ScheduleOptions
from milepost.run.schedule import Schedule


def factors(total=100, **options):
    schedule = Schedule(ScheduleOptions(**options), total, 10)
    return [schedule.factor(step) for step in range(total)]


@pytest.mark.parametrize("name", ["cosine", "linear", "exponential", "one_cycle"])
def test_falling_courses_rise_in_the_warm_up_and_end_at_the_final_fraction(name):
    found = factors(name=name, warmup_steps=10, initial_fraction=0.1, final_fraction=0.02)
    assert found[:10] == sorted(found[:10])
    assert found[9] == pytest.approx(1.0)
    assert found[9:] == sorted(found[9:], reverse=True)
    assert found[-1] == pytest.approx(0.02)


def test_cosine_is_half_way_down_in_the_middle():
    found = factors(name="cosine", warmup_steps=0, final_fraction=0.0)
    assert found[49] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.5)))


def test_constant_stays():
    assert set(factors(name="constant", warmup_steps=0)) == {1.0}


def test_step_halves_after_so_many_epochs():
    found = factors(name="step", warmup_steps=0, every_epochs=2, factor=0.5)
    assert found[19] == 1.0
    assert found[20] == 0.5
    assert found[40] == 0.25


def test_plateau_waits_then_reduces_and_its_state_is_restored():
    options = ScheduleOptions(name="plateau", warmup_steps=0, patience=2, factor=0.1, final_fraction=0.001)
    schedule = Schedule(options, 100, 10)
    for value in (1.0, 0.5, 0.6, 0.7):
        schedule.evaluated(value)
    assert schedule.factor(50) == pytest.approx(0.1)
    again = Schedule(options, 100, 10)
    again.load_state_dict(schedule.state_dict())
    for one in (schedule, again):
        one.evaluated(0.6)
        one.evaluated(0.6)
    assert again.factor(60) == schedule.factor(60) == pytest.approx(0.01)


def test_a_warm_up_longer_than_the_run_is_cut():
    assert len(factors(total=5, name="cosine", warmup_steps=50)) == 5


def test_a_value_that_is_no_number_is_never_the_best():
    options = ScheduleOptions(name="plateau", warmup_steps=0, patience=2, factor=0.1)
    schedule = Schedule(options, 100, 10)
    for value in (math.nan, 1.0, math.nan, 0.5):
        schedule.evaluated(value)
    assert schedule.state_dict() == {"reduction": 1.0, "best": 0.5, "waited": 0}


def test_another_metric_is_looked_at_anew():
    schedule = Schedule(ScheduleOptions(name="plateau", patience=2, warmup_steps=0), 100, 10)
    for value in (1.0, 2.0):
        schedule.evaluated(value)
    schedule.forget_best()
    for value in (9.0, 8.0, 7.0):
        schedule.evaluated(value)
    assert schedule.factor(50) == 1.0, "each was the best so far of the other metric"


def test_a_plateau_begins_anew_with_a_task():
    options = ScheduleOptions(name="plateau", patience=1, warmup_steps=0)
    schedule = Schedule(options, 100, 10)
    for value in (1.0, 2.0, 3.0):
        schedule.evaluated(value)
    assert schedule.factor(50) == 0.25
    schedule.begin_anew()
    assert schedule.state_dict() == Schedule(options, 100, 10).state_dict()
