"""A file system that fails at a chosen call: with an error, with a short write, with an interrupt, or with death.

Every method of `FileSystem` counts as one call. Nothing is flushed to the device: what these tests are about is the
order of the calls and what is done about an error, not the disk.
"""

import errno
import os
import signal
from pathlib import Path
from typing import Any

from milepost.archive import FileSystem

CALLS = ("create", "write", "seek", "fsync", "close", "replace", "link", "unlink", "fsync_directory")


class Unsynced(FileSystem):
    """Make every call but the flushes."""

    def fsync(self, descriptor: int) -> None:
        """Leave the device alone."""

    def fsync_directory(self, folder: Path) -> None:
        """Leave the device alone."""


class Faulty(Unsynced):
    """Note every call, and make the `at`-th fail with `code`, before or after it takes effect."""

    def __init__(self, at: int = -1, code: int = errno.EIO, after: bool = False) -> None:
        self.calls: list[str] = []
        self.at, self.code, self.after = at, code, after

    def strike(self) -> None:
        """Let the fault happen."""
        raise OSError(self.code, "injected fault")

    def call(self, name: str, *arguments: Any) -> Any:
        """Make a call, or let it fail."""
        self.calls.append(name)
        if len(self.calls) - 1 != self.at:
            return self.make(name, *arguments)
        result = None
        if self.after:
            result = self.make(name, *arguments)
        elif name == "close":  # the kernel closes the descriptor even when it reports an error
            FileSystem.close(self, *arguments)
        self.strike()
        return result

    def make(self, name: str, *arguments: Any) -> Any:
        """Make a call as it is."""
        return getattr(type(self), name)(self, *arguments)

    def __getattribute__(self, name: str) -> Any:
        if name in CALLS:
            return lambda *arguments: self.call(name, *arguments)
        return super().__getattribute__(name)


class Died(BaseException):
    """Stand for the end of the process."""


class Dying(Faulty):
    """Let the process seem to die: no more calls, not even to clean up."""

    dead = False

    def strike(self) -> None:
        """Die."""
        self.dead = True
        raise Died

    def call(self, name: str, *arguments: Any) -> Any:
        """Make a call, unless dead."""
        if self.dead:
            raise Died
        return super().call(name, *arguments)


class Killed(Faulty):
    """Let the process really die."""

    def strike(self) -> None:
        """Send SIGKILL to this process."""
        os.kill(os.getpid(), signal.SIGKILL)


class Interrupted(Faulty):
    """Let the user press Ctrl-C."""

    def strike(self) -> None:
        """Raise what Python raises then."""
        raise KeyboardInterrupt


class Short(Faulty):
    """Let the `at`-th write take some of its bytes only, as a full pipe, quota or disk does."""

    def __init__(self, at: int, share: float) -> None:
        super().__init__(at)
        self.share = share

    def call(self, name: str, *arguments: Any) -> Any:
        """Write less than was asked for."""
        if name == "write" and len(self.calls) == self.at:
            descriptor, data = arguments
            arguments = (descriptor, memoryview(data)[: max(1, int(len(data) * self.share))])
        self.calls.append(name)
        return self.make(name, *arguments)
