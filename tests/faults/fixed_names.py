"""Run a program whose files have the same names in every run, for `chaos.py`, which finds a point again by its name.

    python tests/faults/fixed_names.py milepost train options.yaml
    python tests/faults/fixed_names.py script.py --option

The random part of a draft's name, a run's number and the name of its folder, which is the time, are constant here, and
`progress.json` is written where something begins or ends and not every second. Files are made with Python's `open`:
ckpt-chaos sees only those well enough to tear one, or to take back what was not flushed. Nothing else is changed. Where
a killed run left a draft, a second run under these names may meet it: go on with the program itself.
"""

import math
import os
import runpy
import secrets
import sys
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any


class StoppedClock(datetime):
    """Tell the same time always."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "StoppedClock":
        return cls(2026, 1, 31, 12, 0, 0, 0, tz)


def zeros(count: int | None = None) -> str:
    """Stand for `secrets.token_hex`."""
    return "00" * (count or 32)


class PythonFiles:
    """Stand for the calls of `FileSystem` that make and close a file."""

    def __init__(self) -> None:
        self._open: dict[int, Any] = {}

    def create(self, path: Path) -> int:
        stream = path.open("x+b", buffering=0)
        self._open[stream.fileno()] = stream
        return stream.fileno()

    def close(self, descriptor: int) -> None:
        stream = self._open.pop(descriptor, None)
        if stream is None:
            os.close(descriptor)
        else:
            stream.close()


def main(program: str, *arguments: str) -> None:
    """Run the program."""
    from milepost.archive import FileSystem

    files = PythonFiles()
    FileSystem.create = lambda self, path: files.create(path)  # type: ignore[method-assign]
    FileSystem.close = lambda self, descriptor: files.close(descriptor)  # type: ignore[method-assign]
    secrets.token_hex = zeros
    sys.argv = [program, *arguments]
    if program != "milepost":
        runpy.run_path(program, run_name="__main__")
        return
    from milepost.cli import main as milepost_main
    from milepost.run import directory, heartbeat

    # It is by these names that they are looked up.
    assert directory.datetime is datetime
    assert heartbeat.INTERVAL * heartbeat.SHARE > 0
    directory.datetime = StoppedClock  # type: ignore[misc]
    heartbeat.INTERVAL = heartbeat.SHARE = math.inf  # type: ignore[assignment]
    milepost_main()


if __name__ == "__main__":
    main(*sys.argv[1:])
