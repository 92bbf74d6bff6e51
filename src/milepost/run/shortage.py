"""Live through a full disk: go on, say so once, and say once when it is over.

Promise: only a lack of space is lived through (ENOSPC, and EDQUOT where a quota is used up). Every other error of a
file system means that writing can't be trusted, and comes out. What could not be written is told in one line, however
often it is tried again; so is the end of the shortage.
Needs: `report` is called in the thread that talks to the user; `note` and `over` may be called in any thread.
"""

import errno
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

LACKS_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

PATIENCE_SECONDS = 600.0
"""How long the end of a run waits for space: long enough to remove files, short beside the time that a run took."""

LOOK_EVERY_SECONDS = 5.0
"""How often the end of a run looks whether there is space."""


def lacks_space(error: BaseException) -> bool:
    """Tell whether an error is a lack of space and nothing worse."""
    return isinstance(error, OSError) and error.errno in LACKS_SPACE


class Shortage:
    """Remember what could not be written for lack of space, and tell the user once each way.

    `say` prints a line; `pressed` tells that nobody may be kept waiting any more: a signal came, or the time is up.
    """

    def __init__(self, say: Callable[[str], None], pressed: Callable[[], bool] = lambda: False) -> None:
        self._say, self._pressed = say, pressed
        self._noted: str | None = None
        self._told = False

    @property
    def noted(self) -> str:
        """What waits to be written, and why; empty where nothing does."""
        return self._noted or ""

    @contextmanager
    def outlived(self, what: str, folder: Path, needed: Callable[[], int] = int) -> Generator[None]:
        """Take note of a lack of space in the block and go on after it; every other error comes out."""
        try:
            yield
        except OSError as error:
            if not lacks_space(error):
                raise
            self.note(error, what, folder, needed())

    def note(self, error: OSError, what: str, folder: Path, needed: int = 0) -> None:
        """Remember the first thing that could not be written into `folder`; `needed` is its size where known."""
        if self._noted is None:
            room = f"{_size(needed)} needed, " if needed else ""
            quota = ", and a quota may leave less" if error.errno == errno.EDQUOT else ""
            self._noted = f"could not save {what} in '{folder}' for lack of space ({room}{_free(folder)} free{quota})"

    def over(self) -> None:
        """Forget the shortage: everything that waited is written."""
        self._noted = None

    def report(self, saved: str = "") -> None:
        """Tell the user what changed since the last call; `saved` says what could be saved after all."""
        if self._noted is not None and not self._told:
            self._say(f"{self._noted}: training goes on, and each due save tries again. Make space.")
            self._told = True
        elif self._noted is None and self._told:
            self._say(f"there is space again: saved {saved}" if saved else "there is space again")
            self._told = False

    def waited_out(self, attempt: Callable[[], bool]) -> bool:
        """Try again and again until an attempt tells of success, for a bounded time; tell how it ended.

        Gives up at once when nobody may be kept waiting.
        """
        if self._pressed():
            return False
        why = f"{self._noted}: " if self._noted and not self._told else ""
        self._say(f"{why}waiting up to {PATIENCE_SECONDS / 60:g} minutes for space; a signal ends that")
        self._told = True
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            look = min(end, time.monotonic() + LOOK_EVERY_SECONDS)
            while time.monotonic() < look:
                if self._pressed():
                    return False
                time.sleep(min(0.1, LOOK_EVERY_SECONDS))
            if attempt():
                return True
        return False


def _free(folder: Path) -> str:
    try:
        return _size(shutil.disk_usage(folder).free)
    except OSError:
        return "unknown"


def _size(count: int) -> str:
    """Write a number of bytes in decimal units."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
