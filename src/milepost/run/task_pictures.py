"""Draw the pictures of a run's matrix after its tasks, without holding it up, and whenever the run is left.

To draw takes about a second, and longer the first time, in a run that may take ten in all. So it is done after a task
only where it takes a small share of the time since it was last done; and once more where a process leaves the run,
after all else is safe.
Promise: a run that was stopped, or diverged, has the pictures of all its tasks; one that is killed lacks those of the
last moments at most, and gets them from the process that goes on. Nothing but the pictures depends on them: an error
is said, and random numbers are as they were. matplotlib is imported when something is drawn, and not before.
"""

import time
from collections.abc import Callable
from pathlib import Path

from milepost.checkpoint import RandomState
from milepost.errors import CommitError
from milepost.learning import TaskMatrix
from milepost.learning.matrix import FILE

EXPECTED = 1.5
"""Seconds that the first drawing of a process is taken to need."""

TIMES = 30
"""Time between two drawings during a run, in times that one took."""

AT_HAND = 3
"""Time that must be left for a last one before a run's time is over, in the same."""

# What matplotlib raises where its settings, its fonts or itself are not as they should be.
_SURPRISES = (ImportError, ValueError, RuntimeError, TypeError, KeyError, IndexError, AttributeError, Warning)


class TaskPictures:
    """Write a matrix into a run's directory when a task ends, and draw it when there is time; call it to do so.

    `say` tells the user why something was not drawn.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self._say, self._clock = folder, say, clock
        self._since, self._takes = clock(), EXPECTED

    def __call__(self, matrix: TaskMatrix) -> None:
        """Take note of the end of a task; raises OSError or CommitError where the matrix can't be written."""
        matrix.write(self.folder)
        if self._clock() - self._since >= TIMES * self._takes:
            self._try_to_draw(matrix)

    def leave(self, matrix: TaskMatrix | None, seconds_left: float | None = None) -> None:
        """Draw what was not drawn since it was written, if there is time for it: the process leaves the run."""
        in_time = seconds_left is None or seconds_left >= AT_HAND * self._takes
        if matrix is not None and in_time and self._behind():
            self._try_to_draw(matrix)

    def draw(self, matrix: TaskMatrix) -> None:
        """Draw now; raises OSError or CommitError where a file can't be written, says anything else."""
        from milepost.learning import pictures

        began, random = self._clock(), RandomState()
        before = random.state_dict()
        try:
            pictures.draw_matrix(matrix, self.folder)
        except _SURPRISES as error:  # the run is worth more than its picture
            self._tell(error)
        finally:
            random.load_state_dict(before)
            self._since = self._clock()
            self._takes = self._since - began

    def _try_to_draw(self, matrix: TaskMatrix) -> None:
        try:
            self.draw(matrix)
        except (OSError, CommitError) as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        self._say(f"the pictures of the tasks were not drawn: {type(error).__name__}: {error}")

    def _behind(self) -> bool:
        """Tell whether the matrix was written after the pictures; not where this run has written none."""
        try:
            written = (self.folder / FILE).stat().st_mtime_ns
            drawn = [path.stat().st_mtime_ns for path in self.folder.glob("*.png")]
        except OSError:
            return False
        return not drawn or min(drawn) < written
