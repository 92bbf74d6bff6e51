"""Answer the signals that ask a command to stop, from its first moment to its last.

Outside of the training loop there is nothing to save: the handler raises `Interrupted`, which unwinds as any exception
does; files are committed whole or not at all wherever that happens. In the loop (`deferred`) it only sets a flag, which
the loop reads at a step boundary. A second SIGINT leaves at once, from wherever the process is.

Promise: the first signal raises once, so that cleaning up is not interrupted; what it turned into on its way through
code that catches everything is `Interrupted` again at the end. No torch here: signals are answered while that is read.
"""

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

from milepost.cli.statuses import ABANDONED
from milepost.run.signals import STOPPING, Handler

SHOW_CURSOR = b"\x1b[?25h\n"
"""DECTCEM, DEC Private Mode 25 (VT220 Programmer Reference Manual): a progress bar hides the cursor."""


class Interrupted(BaseException):
    """Unwind a command that a signal asked to stop. Notes say what is kept. No `except Exception` catches it."""

    def __init__(self, received: signal.Signals) -> None:
        super().__init__(received)
        self.received = received

    def __str__(self) -> str:
        kept = "; ".join(getattr(self, "__notes__", ())) or "nothing was computed yet"
        return f"stopped by {self.received.name}: {kept}; continue with the same command and --restart auto"


class Interruption:
    """Listen for as long as the context lasts.

    With `to_the_end`, signals that come after it are ignored: the process is leaving with a status that is decided.
    """

    def __init__(self, *, to_the_end: bool = False) -> None:
        self.received: signal.Signals | None = None
        self.to_the_end = to_the_end
        self.deferring = True
        self._raised = self._over = False
        self._interrupts = 0
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Self:
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._note)
        try:
            self.deferring = False
            self.check()
        except Interrupted:  # then nobody else calls __exit__
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if self.to_the_end else handler)
        if self._raised and self.received is not None and isinstance(error, Exception):
            raise Interrupted(self.received) from error

    def deferred(self) -> "Deferred":
        """Note signals instead of raising, in a context."""
        return Deferred(self)

    def check(self) -> None:
        """Raise Interrupted where a signal was received."""
        if self.received is not None:
            self._raised = True
            raise Interrupted(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._over:
            return
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            leave_at_once()
        if self.received is not None:
            return
        self.received = signal.Signals(number)
        if not self.deferring:
            self.check()


class Deferred:
    """Note a signal instead of raising, for as long as the context lasts; `milepost.run.signals.Listening`."""

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption

    @property
    def received(self) -> signal.Signals | None:
        """The first signal that asked the command to stop, if any."""
        return self._interruption.received

    def __enter__(self) -> Self:
        self._interruption.deferring = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interruption.deferring = False


def leave_at_once() -> None:
    """End this process here, waiting for nothing; the terminal gets its cursor back, unless it is held (Ctrl-S)."""
    if os.isatty(2) and select.select([], [2], [], 0)[1]:
        os.write(2, SHOW_CURSOR)
    os._exit(ABANDONED)
