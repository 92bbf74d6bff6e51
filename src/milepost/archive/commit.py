"""Write a file so that it is there whole, or not there.

Promise: draft beside the target → write → flush → fsync → publish (rename, or link where nothing may be
replaced) → fsync the folder. At every instant the target is the old file or the complete new one.
Failure: CommitError names the step and the path, and the draft is removed; OverwriteError where `path` is
taken. A failed fsync is never repeated: the kernel may have dropped the data
(https://wiki.postgresql.org/wiki/Fsync_Errors).
"""

import errno
import io
import os
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

from milepost.archive.advice import advice_on
from milepost.archive.filesystem import FileSystem
from milepost.archive.source import reason_against_path
from milepost.errors import CommitError, OverwriteError

Durability = Literal["power", "process"]

DRAFT_SUFFIX = ".draft"
_MAX_NAME_BYTES = 255
_BUFFER_BYTES = 2**20
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def atomic_write(
    path: Path | str,
    write: Callable[[BinaryIO], None],
    *,
    durability: Durability = "power",
    overwrite: bool = False,
    filesystem: FileSystem | None = None,
) -> None:
    """Publish what `write` puts into a file under `path`, all of it or nothing.

    `write` gets a seekable binary file. With durability "power" the file survives a power cut once this
    returns; with "process" it survives the end of the process only, and nothing is synced. Unless
    `overwrite`, a file that is already there is left as it is and OverwriteError is raised; where the file
    system has no hard links, that check and the rename are two steps.

    Raises ValueError for a durability that there is not, before anything is touched, and CommitError (an OSError with
    the cause's `errno`) naming the step that failed. If that step is the
    fsync of the folder, the complete file is already in place but may be lost in a power cut. What `write`
    raises comes out unchanged, except OSError from its writes.
    """
    check_durability(durability)
    path = _checked(path, overwrite)
    filesystem = filesystem or FileSystem()
    draft = draft_path(path)
    with _step("create the draft of", path):
        descriptor = filesystem.create(draft)
    published = False
    try:
        _fill(descriptor, path, write, durability, filesystem)
        _publish(draft, path, overwrite, filesystem)
        published = True
    finally:
        if not published:
            with suppress(OSError):
                filesystem.unlink(draft)
    if durability == "power":
        with _step("make durable (the complete file is in place, but a power cut may undo that)", path):
            filesystem.fsync_directory(path.parent)


def check_durability(durability: Durability) -> None:
    """Raise ValueError for anything but "power" and "process": a typing error must not mean that nothing is synced."""
    if durability not in get_args(Durability):
        expected = " or ".join(map(repr, get_args(Durability)))
        raise ValueError(f"could not save: expected durability {expected}, found {durability!r}. Choose one of them.")


def _checked(path: Path | str, overwrite: bool) -> Path:
    """Return a path that a file may get; raises CommitError or OverwriteError for any other."""
    reason = reason_against_path(path)
    if reason is None and not Path(path).name:
        reason = "expected a path that ends in a file's name, found none"
    if reason:
        raise _commit_error("write", Path(path), OSError(errno.EINVAL, reason))
    path = Path(path)
    if not overwrite and os.path.lexists(path):
        raise _taken(path)
    return path


def draft_path(path: Path) -> Path:
    """Return a new name beside `path` that says what it is: `.<name>.<random>.draft`."""
    ending = f".{secrets.token_hex(4)}{DRAFT_SUFFIX}"
    room = _MAX_NAME_BYTES - len(ending) - 1
    stem = os.fsdecode(os.fsencode(path.name)[:room])
    return path.with_name(f".{stem}{ending}")


def is_draft(path: Path, of: str | None = None) -> bool:
    """Tell whether `path` has the name of an unfinished file: of one that shall be named `of`, or of any."""
    if not (path.name.startswith(".") and path.name.endswith(DRAFT_SUFFIX)):
        return False
    return of is None or _without_ending(path) == _without_ending(draft_path(Path(of)))


def _without_ending(draft: Path) -> str:
    return draft.name.rsplit(".", 2)[0]


def _fill(
    descriptor: int,
    path: Path,
    write: Callable[[BinaryIO], None],
    durability: Durability,
    filesystem: FileSystem,
) -> None:
    raw = _Draft(descriptor, filesystem, hasten=durability == "power")
    stream = io.BufferedWriter(raw, _BUFFER_BYTES)
    try:
        with _step("write", path, only=raw.failures):
            write(cast(BinaryIO, stream))
            stream.flush()
        if durability == "power":
            with _step("fsync", path):
                filesystem.fsync(descriptor)
    except BaseException:
        raw.abandoned = True
        with suppress(OSError):
            stream.close()
        raise
    with _step("close", path):
        stream.close()


def _publish(draft: Path, path: Path, overwrite: bool, filesystem: FileSystem) -> None:
    if overwrite:
        with _step("rename the draft to", path):
            filesystem.replace(draft, path)
        return
    try:
        filesystem.link(draft, path)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise _commit_error("link the draft to", path, error) from error
        if os.path.lexists(path):
            raise _taken(path) from None
        with _step("rename the draft to", path):
            filesystem.replace(draft, path)
    else:
        with _step("remove the draft's name of", path):
            filesystem.unlink(draft)


class _Draft(io.RawIOBase):
    """Carry a stream's bytes to the file system; remember the errors that came from there."""

    def __init__(self, descriptor: int, filesystem: FileSystem, *, hasten: bool) -> None:
        super().__init__()
        self.failures: list[OSError] = []
        self.abandoned = False
        self._hasten = hasten
        self._descriptor = descriptor
        self._filesystem = filesystem
        self._position = 0

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any, /) -> int:
        if self.abandoned:  # BufferedWriter.close flushes first; after an error nothing more may be written
            return len(data)
        with self._noting():
            count = self._filesystem.write(self._descriptor, data)
            if not count and len(data):  # BufferedWriter would try for ever
                raise OSError(errno.ENOSPC, f"the file system took none of {len(data)} bytes")
        if self._hasten and count >= _BUFFER_BYTES:
            self._filesystem.begin_writeback(self._descriptor, self._position, count)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        with self._noting():
            self._position = self._filesystem.seek(self._descriptor, offset, whence)
        return self._position

    def tell(self) -> int:
        # BufferedWriter asks when it is built and ignores errors, so no system call may be behind the answer.
        return self._position

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        self._filesystem.close(self._descriptor)

    @contextmanager
    def _noting(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            self.failures.append(error)
            raise


@contextmanager
def _step(step: str, path: Path, only: list[OSError] | None = None) -> Generator[None]:
    """Turn an OSError of a step into a CommitError; with `only`, just the errors listed there."""
    try:
        yield
    except OSError as error:
        if only is not None and not any(error is known for known in only):
            raise
        raise _commit_error(step, path, error) from error


def _commit_error(step: str, path: Path, cause: OSError) -> CommitError:
    error = CommitError(
        f"could not {step} {_shown(path)}: {cause.strerror or cause}. Files committed earlier are as they were. "
        f"{advice_on(cause.errno, path)}"
    )
    error.errno = cause.errno
    return error


def _shown(path: Path) -> str:
    text = str(path)
    return f"'{text}'" if text.isprintable() else repr(text)


def _taken(path: Path) -> OverwriteError:
    found, instead = ("folder", "") if path.is_dir() else ("file", " or allow overwriting")
    error = OverwriteError(f"could not write '{path}': a {found} of that name exists. Choose another name{instead}.")
    error.errno = errno.EEXIST
    return error
