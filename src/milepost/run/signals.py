"""Turn signals into a flag that the loop reads at a step boundary.

Promise: nothing is saved inside a signal handler, which can interrupt anything, a half-written file too. The second
interrupt from the keyboard leaves at once; the last committed checkpoint is intact, as at any instant.
Needs: the main thread, which is where Python handles signals. No torch here: the command listens before it is there.
"""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

Handler = Callable[[int, FrameType | None], Any] | int | None
"""What `signal.signal` takes and gives back."""

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that ask a run to stop: the schedulers' and the keyboard's."""


class Listening(Protocol):
    """Note a signal instead of acting on it, for as long as the context lasts; `received` is the first one."""

    @property
    def received(self) -> signal.Signals | None:
        """The first signal that asked to stop, if any."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class StopSignals:
    """Listen for signals where a run is part of another program: a second SIGINT raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._interrupts = 0
        self._before: dict[signal.Signals, Handler] = {}

    def __enter__(self) -> Self:
        for number in STOPPING:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt


def ignore_stop_signals() -> None:
    """Let the signals that ask a run to stop pass by: a process that works for a run calls this when it starts.

    A scheduler and a terminal signal every process of a job. The one that trains has the answer; the others have to
    live on until it no longer needs them. They ignore SIGTERM too, so `terminate()` does not end them: close what they
    read from, or `kill()` them.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
