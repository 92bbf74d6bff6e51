"""A time limit is read as SLURM writes it; without one, the end of a SLURM job counts."""

import time

import click
import pytest

from milepost.cli.time_limit import END_OF_JOB, FORMS, Limit, find_limit, spelled
from milepost.errors import OptionsError

NOW, WALL = 5000.0, 1.8e9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90 * 60),
        ("0:30", 30),
        ("12:05", 12 * 60 + 5),
        ("23:50:00", 23 * 3600 + 50 * 60),
        ("1-0", 86400),
        ("2-12", 2 * 86400 + 12 * 3600),
        ("1-02:30", 86400 + 2 * 3600 + 30 * 60),
        ("1-02:30:15", 86400 + 2 * 3600 + 30 * 60 + 15),
    ],
)
def test_the_forms_of_slurm(text: str, seconds: int) -> None:
    assert Limit().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0:00", "0-0", "-5", "1.5", "1h", "ten", "1:2:3:4", "1-", "1-2:3:4:5", "1 - 2", "٣", "1:", "+5"]
)
def test_another_form_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        Limit().convert(text, None, None)
    assert caught.value.message == f"expected a time above 0 as {FORMS}, found '{text}'"


def test_a_wrong_limit_is_a_usage_error(milepost) -> None:
    ended = milepost("train", "options.yaml", "--time-limit", "soon")
    assert ended.status == 2
    assert f"expected a time above 0 as {FORMS}, found 'soon'" in " ".join(ended.err.split())


def test_without_either_there_is_no_limit() -> None:
    assert find_limit(None, {}, now=NOW, wall=WALL) is None


def test_the_option_counts_from_the_start_and_goes_before_the_job() -> None:
    limit = find_limit(600, {END_OF_JOB: str(int(WALL) + 60)}, now=NOW, wall=WALL)
    assert limit is not None
    assert (limit.end, limit.seconds, limit.renewed, limit.source) == (NOW + 600, 600, True, "--time-limit")


def test_the_end_of_the_job_becomes_a_time_of_the_monotonic_clock() -> None:
    limit = find_limit(None, {END_OF_JOB: str(int(WALL) + 7200)}, now=NOW, wall=WALL)
    assert limit is not None
    assert (limit.end, limit.seconds, limit.renewed, limit.source) == (NOW + 7200, 7200, False, END_OF_JOB)


def test_an_end_that_is_past_limits_nothing() -> None:
    """The job was prolonged: it still runs."""
    assert find_limit(None, {END_OF_JOB: str(int(WALL) - 1)}, now=NOW, wall=WALL) is None


@pytest.mark.parametrize("text", ["", "soon", "2026-01-31T12:00:00", "-1", "9" * 400])
def test_an_end_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(OptionsError) as caught:
        find_limit(None, {END_OF_JOB: text}, now=NOW, wall=WALL)
    assert f"expected seconds since 1970 in {END_OF_JOB}, found '{text}'" in str(caught.value)
    assert "Give --time-limit" in str(caught.value)


def test_the_limit_says_what_it_is_and_when_the_run_stops() -> None:
    limit = find_limit(86400 + 60, {}, now=time.monotonic(), wall=WALL)
    day = time.strftime("%Y-%m-%d %H:", time.localtime(time.time() + 86400 + 60))
    assert str(limit).startswith(f"time limit of 1-00:01:00 (--time-limit): the run saves and stops before {day}")


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "00:00:05"), (3661, "01:01:01"), (85800, "23:50:00"), (90000, "1-01:00:00")]
)
def test_lengths_of_time_are_written_as_they_are_read(seconds: int, text: str) -> None:
    assert spelled(seconds) == text
    assert Limit().convert(text, None, None) == seconds
