"""Write `metrics.csv`: one row for every evaluation, none twice and none missing, however often the run stopped.

Promise: a checkpoint remembers how long the file was and its last row; restoring cuts away what a killed run wrote
after that. If that row is not there (another machine, a lost disk), the log starts again at the checkpoint, and nothing
else changes. While a run trains, rows that find no space wait in memory, and nothing is ever written behind a hole:
after a file that somebody cut, rows go on behind its last whole one; after one that was moved away, in a new file with
a header of its own.
Failure: a lack of space is told to `short` when a row is added, and raised by `sync`; any other error is a CommitError.
"""

import csv
import errno
import io
import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from milepost.archive import FileSystem, atomic_write
from milepost.errors import CommitError
from milepost.run.shortage import lacks_space

LONGEST_ROW = 2**16
"""Bytes that are read to find the end of the last whole row in a file that was cut."""


class MetricsLog:
    """Append rows of metrics; `Stateful`. Columns are fixed by the first row; `columns` are added to it.

    One thread adds rows; `sync` may be called in another.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str] = (),
        short: Callable[[OSError], None] | None = None,
        filesystem: FileSystem | None = None,
    ) -> None:
        self.path = path
        self._expected = tuple(columns)
        self._short = short
        self._filesystem = filesystem or FileSystem()
        self._lock = threading.Lock()
        self._columns: list[str] = []
        self._last = ""
        self._length = self._written = self._synced = 0  # bytes: of all rows, in the file, on the device
        self._tail = b""  # what lies between synced and length
        self._distrusted = False  # an fsync failed: what the file holds behind `synced` may be gone

    def append(self, row: dict[str, float]) -> None:
        """Add one row and hand it to the operating system, or keep it until there is space."""
        data = b""
        if not self._columns:
            self._columns = [*row, *(name for name in self._expected if name not in row)]
            data = _line(self._columns)
        line = _line([_text(row.get(name)) for name in self._columns])
        self._last = line.decode()
        with self._lock:
            self._tail += data + line
            self._length += len(data + line)
            try:
                self._write()
            except OSError as error:
                if self._short is None or not lacks_space(error):
                    raise
                self._short(error)

    def sync(self, *, durable: bool = True) -> None:
        """Write what waits, and make all rows survive a power cut, before a checkpoint refers to them."""
        with self._lock:
            if not self._length:
                return
            self._write()
            length = self._length
            descriptor = os.open(self.path, os.O_RDWR) if durable else None
        if descriptor is None:
            return
        try:
            with _named("sync", self.path):
                self._filesystem.fsync(descriptor)
        except OSError:
            self._distrusted = True
            raise
        finally:
            os.close(descriptor)
        with self._lock:
            self._settled(length)

    def state_dict(self) -> dict[str, Any]:
        """Return the columns, the length of the file in bytes, and its last row."""
        return {"columns": list(self._columns), "length": self._length, "last": self._last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the saved row; rows written later are cut away."""
        with self._lock:
            self._columns, self._length, self._last = list(state["columns"]), state["length"], state["last"]
            if not self._holds_the_last_row():
                self._columns, self._length, self._last = [], 0, ""
            elif self.path.stat().st_size > self._length:
                os.truncate(self.path, self._length)
            self._written = self._synced = self._length
            self._tail, self._distrusted = b"", False

    def _holds_the_last_row(self) -> bool:
        """Tell whether the file has the last row where it should be."""
        last = self._last.encode()
        if not last or self._length < len(last) or not self.path.is_file():
            return False
        with self.path.open("rb") as stream:
            stream.seek(self._length - len(last))
            return stream.read(len(last)) == last

    def _write(self) -> None:
        """Bring the file up to the last row."""
        if self._distrusted:
            self._write_anew()
            return
        with _named("write", self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if os.fstat(descriptor).st_size < self._written:
                    self._go_on_in(descriptor)
                pending = self._tail[self._written - self._synced :]
                if pending:
                    self._put(descriptor, pending)
            finally:
                os.close(descriptor)

    def _put(self, descriptor: int, data: bytes) -> None:
        """Write rows behind those that are there, all of them or none."""
        try:
            self._filesystem.seek(descriptor, self._written, os.SEEK_SET)
            left = memoryview(data)
            while left:
                taken = self._filesystem.write(descriptor, left)
                if not taken:
                    raise OSError(errno.ENOSPC, f"the file system took none of {len(left)} bytes")
                left = left[taken:]
            os.ftruncate(descriptor, self._length)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, self._written)
            raise
        self._written = self._length

    def _go_on_in(self, descriptor: int) -> None:
        """Go on behind the last whole row of a file that lacks some, or at its beginning with a header."""
        pending = self._tail[self._written - self._synced :]
        size = os.fstat(descriptor).st_size
        start = max(0, size - LONGEST_ROW)
        found = os.pread(descriptor, LONGEST_ROW, start)
        whole = found[: found.rfind(b"\n") + 1]
        kept = start + len(whole) if whole else 0
        self._tail = pending if kept else _line(self._columns) + pending
        self._written = self._synced = kept
        self._length = kept + len(self._tail)
        self._last = (whole + self._tail).splitlines(keepends=True)[-1].decode()

    def _write_anew(self) -> None:
        """Replace a file whose sync failed: its later rows may be gone, although they can still be read."""

        def put(stream: BinaryIO) -> None:
            with self.path.open("rb") as known:
                stream.write(known.read(self._synced))
            stream.write(self._tail)

        atomic_write(self.path, put, overwrite=True, filesystem=self._filesystem)
        self._written = self._length
        self._distrusted = False
        self._settled(self._length)

    def _settled(self, length: int) -> None:
        """Forget the bytes up to a length that are on the device."""
        if self._synced < length <= self._written:
            self._tail = self._tail[length - self._synced :]
            self._synced = length


@contextmanager
def _named(step: str, path: Path) -> Generator[None]:
    """Say of an error which file it is about."""
    try:
        yield
    except OSError as error:
        failure = CommitError(
            f"could not {step} the metrics in '{path}': {error.strerror or error}. The checkpoints are as they were; "
            "free space or repair the file system, then continue with --restart auto."
        )
        failure.errno = error.errno
        raise failure from error


def _line(values: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9g}"
