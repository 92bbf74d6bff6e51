"""Find out how long a command may run: from `--time-limit`, or from SLURM, whose jobs know their end.

Promise: the clock of the machine is read once, when the command starts; from then on the end is a time of the monotonic
clock. A limit that can't be read is a usage error that shows the forms. No torch here.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import click

from milepost.errors import OptionsError

FORMS = "MINUTES, MINUTES:SECONDS, HOURS:MINUTES:SECONDS, DAYS-HOURS, DAYS-HOURS:MINUTES or DAYS-HOURS:MINUTES:SECONDS"
"""The forms of `sbatch --time` (https://slurm.schedmd.com/sbatch.html)."""

END_OF_JOB = "SLURM_JOB_END_TIME"
"""When the job ends, in seconds since 1970; set by SLURM since version 23.02 (its NEWS of that version)."""

_PATTERNS = (
    r"(?P<minutes>\d+)(:(?P<seconds>\d+))?",
    r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<days>\d+)-(?P<hours>\d+)(:(?P<minutes>\d+)(:(?P<seconds>\d+))?)?",
)
_UNITS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


class Limit(click.ParamType):
    """Read a length of time as SLURM writes it, in seconds."""

    name = "limit"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds; fails with the forms for anything else, and for no time at all."""
        if isinstance(value, int):
            return value
        for pattern in _PATTERNS:
            found = re.fullmatch(pattern, str(value).strip(), re.ASCII)
            if found is not None:
                seconds = sum(int(count or 0) * _UNITS[unit] for unit, count in found.groupdict().items())
                if seconds > 0:
                    return seconds
        self.fail(f"expected a time above 0 as {FORMS}, found '{value}'", param, ctx)


@dataclass(frozen=True)
class TimeLimit:
    """Hold when a command has to be over.

    `end` is a time of the monotonic clock [s], `seconds` the length of which it is the end; `renewed` says that each
    start of the command has the same length again.
    """

    end: float
    seconds: float
    renewed: bool
    source: str

    def __str__(self) -> str:
        left = self.end - time.monotonic()
        clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + left))
        return f"time limit of {spelled(self.seconds)} ({self.source}): the run saves and stops before {clock}"


def find_limit(asked: int | None, environment: Mapping[str, str], *, now: float, wall: float) -> TimeLimit | None:
    """Return the limit that was asked for, or the end of the job; None where there is neither.

    `now` and `wall` are the start of the command, by the monotonic clock and by the machine's. An end that is past
    belongs to a job that was prolonged: it limits nothing.

    Raises OptionsError for an end that is no number.
    """
    if asked is not None:
        return TimeLimit(now + asked, asked, renewed=True, source="--time-limit")
    text = environment.get(END_OF_JOB)
    if text is None:
        return None
    if re.fullmatch(r"\d{1,12}", text, re.ASCII) is None:
        raise OptionsError(
            f"could not read when the job ends: expected seconds since 1970 in {END_OF_JOB}, found '{text}'. "
            "Give --time-limit, or unset the variable."
        )
    left = int(text) - wall
    return TimeLimit(now + left, left, renewed=False, source=END_OF_JOB) if left > 0 else None


def spelled(seconds: float) -> str:
    """Write a length of time as DAYS-HH:MM:SS, without the days where there are none."""
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock
