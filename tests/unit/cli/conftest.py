"""Fixtures: the command, called in this process."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from milepost.cli import main


@dataclass(frozen=True)
class Ended:
    """Hold how a command ended and what it printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def milepost(capsys: pytest.CaptureFixture[str]) -> Command:
    """Call `milepost` with arguments; nothing that it raises gets through but its exit."""

    def call(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ended(int(ending.value.code or 0), out, err)

    return call
