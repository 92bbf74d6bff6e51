"""Read a pickle's bytes in order, from a window of a file, with every length checked before it is used.

Promise: memory grows with the bytes read, never with a stated length; at most `limit` bytes are read.
Failure: ForeignFileError where the window or the limit ends.
"""

from milepost.checkpoint.foreign.window import Window
from milepost.errors import ForeignFileError

_CHUNK = 2**18
_MAX_LINE = 2**16


class Stream:
    """A position in a window, with a buffer before it."""

    def __init__(self, window: Window, begin: int, limit: int) -> None:
        self._window = window
        self._end = min(window.size, begin + limit)
        self._limited = self._end < window.size
        self._buffer = b""
        self._at = 0
        self._base = begin  # where the buffer begins in the window
        self.began = begin

    @property
    def position(self) -> int:
        """The offset in the window of the byte that is read next."""
        return self._base + self._at

    def opcode(self) -> int:
        """Return the next byte, and remember its offset as `began`."""
        if self._at >= len(self._buffer):
            self._fill(1)
        at = self._at
        self.began = self._base + at
        self._at = at + 1
        return self._buffer[at]

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        end = self._at + count
        if end > len(self._buffer):
            self._fill(count)
            end = self._at + count
        data = self._buffer[self._at : end]
        self._at = end
        return data

    def line(self) -> bytes:
        """Return the bytes before the next line feed, and go past it."""
        at = self._buffer.find(b"\n", self._at)
        if at < 0:
            self._fill(0, min(_MAX_LINE, self._end - self.position))
            at = self._buffer.find(b"\n", self._at)
        if at < 0 or at - self._at > _MAX_LINE:
            raise ForeignFileError(f"a line of the pickle at byte {self.position} does not end")
        data = self._buffer[self._at : at]
        self._at = at + 1
        return data

    def _fill(self, count: int, wanted: int = 0) -> None:
        """Have at least `count` bytes in the buffer, and `wanted` where there are as many."""
        position = self.position
        if position + count > self._end:
            why = "it is longer than this reader allows" if self._limited else "the file is truncated"
            raise ForeignFileError(f"the pickle does not end by byte {self._end}: {why}")
        size = min(max(count, wanted, _CHUNK), self._end - position)
        self._buffer = self._window.read(position, size)
        self._at = 0
        self._base = position
