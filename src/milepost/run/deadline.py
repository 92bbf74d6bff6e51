"""Stop in time: at the last step boundary from which the next one and a save are still expected to fit.

    reserve = longest time between two boundaries + 2 × longest save + margin

Steps and saves are those of this process; a boundary-to-boundary time includes evaluations, compiling, and waiting for
a save. Twice the save, because one may be in flight when the last one is asked for, and because a disk that many jobs
leave at the same moment is slower than it was. The margin is for what comes after: 10 s, a tenth of a limit that is
shorter than 100 s.

Promise: the clock is monotonic, so that setting the machine's clock changes nothing. Nothing here is part of the
training state: where a run stops doesn't change what it computes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

MARGIN = 10.0
"""Longest time [s] kept for the end of the process."""

SHARE = 0.1
"""Share of a short limit kept for the end of the process."""

UNKNOWN_RATE = 1e8
"""Bytes per second that a disk is taken to write before the first save was timed: that of a slow one."""


@dataclass
class Deadline:
    """Tell at each step boundary whether to stop there.

    `end` is a time of `clock` [s], `limit` the whole length [s] of which it is the end. `renewed` says that every
    start of the command has the same length again: a start that has no time for a step would then repeat for ever.
    """

    end: float
    limit: float
    renewed: bool = False
    clock: Callable[[], float] = time.monotonic
    longest_save: float = 0.0
    _longest_step: float = field(default=0.0, init=False)
    _boundary: float | None = field(default=None, init=False)
    _timed: bool = field(default=False, init=False)

    @property
    def reserve(self) -> float:
        """Time [s] before the end at which to stop."""
        return self._longest_step + 2 * self.longest_save + min(MARGIN, SHARE * self.limit)

    @property
    def left(self) -> float:
        """Time [s] to the end."""
        return self.end - self.clock()

    def expect(self, size: int) -> None:
        """Expect saves of so many bytes, until one was timed."""
        self.longest_save = size / UNKNOWN_RATE

    def saved(self, seconds: float) -> None:
        """Note how long a save took; the first one takes the place of the estimate."""
        self.longest_save = max(self.longest_save, seconds) if self._timed else seconds
        self._timed = True

    def passed(self) -> bool:
        """Note a step boundary; tell whether to stop there."""
        now = self.clock()
        if self._boundary is not None:
            self._longest_step = max(self._longest_step, now - self._boundary)
        self._boundary = now
        return now + self.reserve >= self.end
