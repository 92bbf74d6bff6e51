"""Write how far a run is, about every second, into a file that others may look at: `progress.json`.

Promise: it costs the training no more than two thousandths of its time, measured as it goes: between two writes lie a
second and five hundred times what the last one took. A step in between costs one look at a clock. The file is replaced
whole, and nothing waits for the disk.
Failure: none. The file is a hint for people and no part of the run, so what keeps it from being written (a full disk, a
folder that can't be written to) stops nothing and is not reported: the one exception to "nothing is carried on with".
"""

import json
import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from milepost.archive import atomic_write
from milepost.run.progress import Pace

INTERVAL = 1.0
SHARE = 500
AFTER_FAILURE = 30.0


class Heartbeat:
    """Tell others how far this process is; made without a path, it tells nobody."""

    def __init__(self, path: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._due = self._soon = -math.inf if path is not None else math.inf
        self._pace = Pace(clock)
        self._state: dict[str, Any] = {
            "phase": "starting",
            "step": 0,
            "total_steps": None,
            "epoch": 0,
            "loss": None,
            "learning_rate": None,
            "steps_per_second": None,
            "seconds_left": None,
        }
        self._epoch: Callable[[int], int] = lambda step: 0

    def begin(self, step: int, total: int, epoch: Callable[[int], int]) -> None:
        """Start to train at a step of so many; `epoch` tells how many passes are complete at a step."""
        self._pace.begin(step, total)
        self._epoch = epoch
        self._state |= {"step": step, "total_steps": total, "epoch": epoch(step)}
        self.phase("training")

    def phase(self, name: str) -> None:
        """Say what is being done, for one of the few phases of a process: written at once."""
        self._state["phase"] = name
        self._write()

    @contextmanager
    def during(self, name: str) -> Generator[None]:
        """Say what is being done until the context ends, for what is done again and again: written where the last
        write is long enough ago.
        """
        before = self._state["phase"]
        self._mention(name)
        yield
        self._mention(before)

    def _mention(self, name: str) -> None:
        self._state["phase"] = name
        if self._clock() >= self._soon:
            self._write()

    def step(self, done: int, loss: float, rate: float) -> None:
        """Count a step; writes when a second has passed."""
        self._pace.step(done)
        if self._clock() < self._due:
            return
        self._state |= {
            "step": done,
            "epoch": self._epoch(done),
            "loss": loss if math.isfinite(loss) else None,
            "learning_rate": rate,
            "steps_per_second": self._pace.speed(done),
            "seconds_left": self._pace.seconds_left(done),
        }
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        text = json.dumps({**self._state, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}) + "\n"

        def put(stream: BinaryIO) -> None:
            stream.write(text.encode())

        began = self._clock()
        try:
            atomic_write(self._path, put, durability="process", overwrite=True)
        except OSError:
            self._due = self._soon = self._clock() + AFTER_FAILURE
            return
        ended = self._clock()
        self._soon = ended + SHARE * (ended - began)
        self._due = max(ended + INTERVAL, self._soon)
