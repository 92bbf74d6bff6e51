"""Files that Lightning wants removed, until it is safe to remove them.

Promise: a file goes only after the newest one was committed and read back whole, and only if it is a checkpoint of
this run. Requests may come from the training thread while the saver's thread carries out earlier ones.
Failure: DamagedArchiveError if the newest file is not sound, ValueError without a run, and then nothing is removed;
CommitError naming the file that can't be removed.
"""

from collections import deque
from pathlib import Path

from milepost.archive import FileSystem
from milepost.checkpoint import load_checkpoint
from milepost.errors import ArchiveError, CommitError, DamagedArchiveError


class Retirement:
    """Hold the requests of one run."""

    def __init__(self) -> None:
        # Appending and taking are single operations, so that no lock is held where a signal may interrupt.
        self._requests: deque[Path] = deque()
        self._newest: Path | None = None
        self._sound: Path | None = None

    @property
    def has_successor(self) -> bool:
        """Tell whether anything was committed here."""
        return self._newest is not None

    def committed(self, path: Path) -> None:
        """Take note that `path` is the newest file."""
        self._sound = None
        self._newest = path

    def request(self, path: Path) -> None:
        """Ask for the removal of `path`."""
        self._requests.append(path)

    def forget(self) -> None:
        """Drop the requests that are left: their files stay."""
        self._requests.clear()

    def carry_out(self, run_id: str) -> None:
        """Remove what was asked for and belongs to this run; a file that is gone, or another's, is passed over."""
        if self._requests and not run_id:
            raise ValueError(
                f"could not remove '{self._requests[0]}': expected a run, found an empty run_id, which is nobody's. "
                "Leave the plug-in the run_id that it was made with."
            )
        while self._requests:
            try:
                path = self._requests.popleft()
            except IndexError:  # taken by the other thread
                return
            if _run_of(path) != run_id:
                continue
            if self._newest is not None and path != self._newest:
                self._check(self._newest, path)
            _remove(path)

    def _check(self, newest: Path, path: Path) -> None:
        if self._sound == newest:
            return
        with load_checkpoint(newest) as checkpoint:
            damages = checkpoint.verify()
        if damages:
            raise DamagedArchiveError(
                f"could not remove '{path}': its successor '{newest}' is damaged, so everything is kept: "
                f"{'; '.join(map(str, damages))}. Save again, to another path."
            )
        self._sound = newest


def _run_of(path: Path) -> str | None:
    try:
        with load_checkpoint(path) as checkpoint:
            return checkpoint.record.run_id
    except (ArchiveError, FileNotFoundError, IsADirectoryError):
        return None


def _remove(path: Path) -> None:
    filesystem = FileSystem()
    try:
        filesystem.unlink(path)
        filesystem.fsync_directory(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        failure = CommitError(
            f"could not remove '{path}': {error.strerror or error}. The others are as they were; "
            "check the folder's permissions."
        )
        failure.errno = error.errno
        raise failure from error
