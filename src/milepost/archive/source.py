"""Read ranges of one open file, straight into the caller's memory.

Promise: every read returns exactly the bytes asked for; positions are explicit, so reads do not disturb each
other.
Failure: DamagedArchiveError where the file ends early (it was cut while it was open); OSError from the
device.

Ranges are read rather than mapped: what was verified is then the caller's own memory, which another program
cannot change afterwards, and a file that shrinks gives an error instead of SIGBUS.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from milepost.archive.digest import CHUNK, new_hasher
from milepost.errors import DamagedArchiveError, NotAnArchiveError


def reason_against_path(path: Path | str) -> str | None:
    """Say why no file can have this path, or return None; the system's own words for it say little."""
    text = str(path)
    if not text:
        return "expected a path, found an empty one"
    if "\0" in text:
        return "expected a path without NUL characters, found one in it"
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return "expected a path that the file system can spell, found lone surrogates in it"
    return None


def _check_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise NotAnArchiveError(f"expected a regular file, found {_other_kind(found.st_mode)}")


def _other_kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe that has taken the file's place would block until it has a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class Source:
    """Hold a regular file open for reading."""

    def __init__(self, path: Path | str) -> None:
        reason = reason_against_path(path)
        if reason:
            raise NotAnArchiveError(reason)
        _check_regular(os.stat(path))
        self._file = open(path, "rb", buffering=0, opener=_open_at_once)  # noqa: SIM115 - closed by close()
        with ExitStack() as opened:
            opened.callback(self._file.close)
            found = os.fstat(self._file.fileno())
            _check_regular(found)  # another file may have taken its place
            opened.pop_all()
        self.size = found.st_size

    def close(self) -> None:
        """Close the file; later reads raise ValueError."""
        self._file.close()

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`."""
        if offset < 0 or offset + size > self.size:
            least = max(size, offset + size)
            raise DamagedArchiveError(f"expected {least} bytes in the file, found {self.size}: it is truncated")
        buffer = bytearray(size)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`."""
        done = 0
        while done < len(buffer):
            count = os.preadv(self._file.fileno(), [buffer[done:]], offset + done)
            if count == 0:
                raise DamagedArchiveError(f"expected more than {offset + done} bytes in the file, found its end")
            done += count

    def hash_into(self, offset: int, buffer: memoryview) -> str:
        """Fill `buffer` from `offset` and return the digest of what is now in it."""
        hasher = new_hasher(len(buffer))
        for begin in range(0, len(buffer), CHUNK):
            piece = buffer[begin : begin + CHUNK]
            self.read_into(offset + begin, piece)
            hasher.update(piece)
        return hasher.hexdigest()

    def hash_range(self, offset: int, size: int) -> str:
        """Return the digest of `size` bytes from `offset`, holding one chunk at a time."""
        hasher = new_hasher(size)
        for piece in self._pieces(offset, size):
            hasher.update(piece)
        return hasher.hexdigest()

    def _pieces(self, offset: int, size: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(size, CHUNK)))
        for begin in range(0, size, CHUNK):
            piece = buffer[: min(CHUNK, size - begin)]
            self.read_into(offset + begin, piece)
            yield piece
