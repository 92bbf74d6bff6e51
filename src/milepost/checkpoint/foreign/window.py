"""Ranges of files that somebody else wrote, read without trusting a size that they state.

Promise: a read returns exactly the bytes asked for, all of them inside the window; nothing is allocated before the
size was compared with the window's. A file that changed after it was opened first is refused.
Failure: ForeignFileError with the reason alone (the caller adds file and advice); OSError from the device.
"""

import os
import stat
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from milepost.errors import ForeignFileError

NOT_REGULAR = "expected a regular file, found something else"


@dataclass(frozen=True, slots=True)
class Identity:
    """Tell one content of a path from another: size, time of the last change, inode."""

    size: int
    changed: int
    inode: int


@dataclass(frozen=True, slots=True)
class Extent:
    """Name a range of a file, and the CRC-32 of its bytes where the format states one."""

    path: Path
    offset: int
    size: int
    crc: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Read `size` bytes of an open file from `begin` on; positions are relative to `begin`."""

    path: Path
    descriptor: int
    begin: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`."""
        self._check(offset, size)
        buffer = bytearray(size)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`."""
        self._check(offset, len(buffer))
        done = 0
        while done < len(buffer):
            count = os.preadv(self.descriptor, [buffer[done:]], self.begin + offset + done)
            if count == 0:
                raise ForeignFileError("the file became shorter while it was read")
            done += count

    def part(self, offset: int, size: int) -> "Window":
        """Return a window on a part of this one."""
        self._check(offset, size)
        return Window(self.path, self.descriptor, self.begin + offset, size)

    def extent(self, offset: int, size: int, crc: int | None = None) -> Extent:
        """Name a range of this window for reading it later."""
        self._check(offset, size)
        return Extent(self.path, self.begin + offset, size, crc)

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ForeignFileError(f"expected {size} bytes at byte {offset}, found the end at byte {self.size}")


class Files:
    """Open each file at most once, for the time of one `reading` block."""

    def __init__(self) -> None:
        self._seen: dict[Path, Identity] = {}
        self._open: dict[Path, Window] = {}

    @contextmanager
    def reading(self) -> Generator["Files"]:
        """Close every file at the end of the block."""
        try:
            yield self
        finally:
            for window in self._open.values():
                os.close(window.descriptor)
            self._open.clear()

    @property
    def size(self) -> int:
        """Bytes of all files that were opened."""
        return sum(identity.size for identity in self._seen.values())

    def whole(self, path: Path) -> Window:
        """Return the window on a whole file; raises ForeignFileError for what is not a regular file."""
        if path not in self._open:
            # Opening a pipe for reading would wait for its writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with ExitStack() as opened:
                opened.callback(os.close, descriptor)
                found = self._identify(path, descriptor)
                opened.pop_all()  # it is a regular file: it stays open until the folder of windows is closed
            self._open[path] = Window(path, descriptor, 0, found.size)
        return self._open[path]

    def read_into(self, extent: Extent, buffer: memoryview) -> None:
        """Fill `buffer`, of the extent's size, with its bytes."""
        self.whole(extent.path).read_into(extent.offset, buffer)

    def _identify(self, path: Path, descriptor: int) -> Identity:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ForeignFileError(NOT_REGULAR)
        found = Identity(status.st_size, status.st_mtime_ns, status.st_ino)
        if self._seen.setdefault(path, found) != found:
            raise ForeignFileError(f"'{path.name}' changed after it was opened; open it again")
        return found
