"""Let one process at a time work in a folder, and name the one that does.

Promise: of any processes that ask at once, one gets the lock. It is the kernel's (`flock`), gone with the process
however that ends. On file systems without such locks the record of the owner decides: it counts until its process is
known to have ended. The record is there for people in any case, and for `milepost runs`, which never locks.
Needs: a folder that can be written to.
Failure: ResumeError naming who holds the lock, and the way out; OSError where the folder can't be used.
"""

import errno
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from milepost.archive import atomic_write
from milepost.errors import ResumeError
from milepost.run.owner import Owner, owner_text, read_owner, standing, this_process

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None

LOCK = "lock"
OWNER = "owner.json"
PATIENCE = 10.0
"""Seconds to wait for a holder that is ending: the loader workers of a killed process notice within five."""
_PAUSE = 0.05
_TAKEN = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_FRESH = 60.0
_WATCHED = 3.0

KernelLock = Callable[[int], None]


def kernel_lock(descriptor: int) -> None:
    """Lock an open file, or raise OSError: at once where another process has it."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "this system has no flock")
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True)
class Refusal:
    """Say who has the lock and what to do. It is `passing` where the holder is about to be known, or gone."""

    owner: Owner | None
    remedy: str
    passing: bool = False

    def __str__(self) -> str:
        return f"another process is training it: {self.owner or 'its name is not written down'}. {self.remedy}"


WAIT = "Wait until it ends, or start a new run without --restart."


class RunLock:
    """Hold a folder for this process; its children never hold it.

    `pulse` is a file that the holder changes all the time while it works: the last evidence of a holder on another
    machine where the file system does not share its locks.
    """

    def __init__(self, folder: Path, *, pulse: Path | None = None, lock: KernelLock = kernel_lock) -> None:
        self.folder = folder
        self._pulse, self._lock = pulse, lock
        self._owner: Owner | None = None
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._owner is not None and self in _HELD

    @property
    def owner(self) -> Owner | None:
        """The record of this process, while it holds the lock."""
        return self._owner

    def acquire(self, intention: str, patience: float = PATIENCE) -> None:
        """Take the lock; raises ResumeError saying who has it, and OSError where the folder can't be written to."""
        refusal = self.attempt(patience)
        if refusal is not None:
            raise ResumeError(f"could not {intention}: {refusal}")

    def attempt(self, patience: float = PATIENCE, *, waiting: bool = False) -> Refusal | None:
        """Take the lock, or say who has it; waits only for a holder that has ended or is not known yet, unless told
        to wait for any.
        """
        end = time.monotonic() + patience
        while not self.held:
            refusal = self._once()
            if refusal is not None and (not (refusal.passing or waiting) or time.monotonic() >= end):
                return refusal
            if refusal is not None:
                time.sleep(_PAUSE)
        return None

    def release(self) -> None:
        """Give the lock back: first the record, then the lock itself. Does nothing where it is not held."""
        if not self.held or self._owner is None:
            return
        path = self.folder / OWNER
        present = read_owner(path)
        if present is not None and present.token == self._owner.token:
            with suppress(OSError):  # the lock goes with the process; its record is then seen to be a dead one's
                path.unlink()
        self.forget()

    def _once(self) -> Refusal | None:
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                self._lock(descriptor)
            except OSError as error:
                if error.errno in _TAKEN:
                    return _taken(read_owner(self.folder / OWNER))
                if error.errno not in _NO_LOCKS:
                    raise
                return self._by_record()
            refusal = self._doubt()
            if refusal is None:
                self._hold(descriptor)
                descriptor = -1
            return refusal
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _hold(self, descriptor: int | None) -> None:
        """Write down that this process has the lock."""
        owner = this_process()
        if descriptor is not None:  # otherwise the record is the lock, and was written already
            _write(self.folder / OWNER, owner)
        self._keep(owner, descriptor)

    def _keep(self, owner: Owner, descriptor: int | None) -> None:
        self._owner, self._descriptor = owner, descriptor
        _forget_in_children()
        _HELD.add(self)

    def forget(self) -> None:
        """Let go without a trace: for a child of the process that holds the lock."""
        _HELD.discard(self)
        descriptor, self._descriptor, self._owner = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)

    def _doubt(self) -> Refusal | None:
        """Look for a living holder although the kernel gave the lock: somebody may have removed the file, or the file
        system of this folder may keep locks to each machine.
        """
        owner = read_owner(self.folder / OWNER)
        if owner is None or _left(owner):
            return None
        state = standing(owner)
        if state == "alive":
            return Refusal(owner, WAIT)
        if state == "unknown" and self._pulse is not None and _beats(self._pulse):
            return Refusal(owner, WAIT)
        return None

    def _by_record(self) -> Refusal | None:
        """Take the lock by being the one who writes the record."""
        path, owner = self.folder / OWNER, this_process()
        if _create(path, owner):
            self._keep(owner, None)
            return None
        present = read_owner(path)
        if present is None:
            return Refusal(None, WAIT, passing=True)
        state = standing(present)
        if state == "ended" or _left(present):
            return self._succeed(present, owner)
        if state == "alive":
            return Refusal(present, WAIT)
        remedy = f"If it has ended, remove the file '{path}' and give the same command again."
        return Refusal(present, remedy, passing=not present.pid)

    def _succeed(self, dead: Owner, owner: Owner) -> Refusal | None:
        """Replace the record of a dead owner: as the only one, for only one can make the file named after it, and
        only while its record is still there.
        """
        claim = self.folder / f"{LOCK}.after-{dead.token}"
        if not _create(claim, owner):
            remedy = f"If no other process is starting, remove the file '{claim}' and give the same command again."
            return Refusal(read_owner(claim), remedy, passing=True)
        try:
            present = read_owner(self.folder / OWNER)
            if present is None or present.token != dead.token:
                return Refusal(present, WAIT, passing=True)
            _write(self.folder / OWNER, owner)
            self._keep(owner, None)
            return None
        finally:
            claim.unlink()


def _taken(owner: Owner | None) -> Refusal:
    """Name who has a lock that the kernel refused; a dead one's is held by a child that is about to end."""
    passing = owner is None or not owner.pid or standing(owner) == "ended"
    if owner is not None and passing and owner.pid:
        remedy = "That process has ended, but one that it started still holds the lock: end it."
        return Refusal(owner, remedy, passing)
    return Refusal(owner, WAIT, passing)


def _beats(pulse: Path) -> bool:
    """Tell whether a file changes while one looks; one that was not changed lately is not looked at."""

    def seen() -> tuple[int, int] | None:
        try:
            found = pulse.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino

    first, end = seen(), time.monotonic() + _WATCHED
    if first is None or abs(time.time() - first[0] / 1e9) > _FRESH:
        return False
    while time.monotonic() < end:
        if seen() != first:
            return True
        time.sleep(_PAUSE)
    return False


def _create(path: Path, owner: Owner) -> bool:
    """Write a record that must not exist; tell whether it did not. O_EXCL is atomic over NFS too (open(2))."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(owner_text(owner).encode())
    return True


def _write(path: Path, owner: Owner) -> None:
    """Replace a record. After a power cut it means nothing, so nothing waits for the disk."""

    def put(stream: BinaryIO) -> None:
        stream.write(owner_text(owner).encode())

    atomic_write(path, put, durability="process", overwrite=True)


_HELD: set[RunLock] = set()
_FORKS: list[Callable[[], None]] = []


def _left(owner: Owner) -> bool:
    """Tell whether a record is one that this very process left behind."""
    own = owner.pid == os.getpid() and standing(owner) == "alive"
    return own and all(lock.owner != owner for lock in _HELD)


def _forget_in_children() -> None:
    """See to it, once, that a forked child closes what it inherits: it would keep the lock of a dead parent."""
    if _FORKS or not hasattr(os, "register_at_fork"):
        return
    _FORKS.append(_close_all)
    os.register_at_fork(after_in_child=_close_all)


def _close_all() -> None:
    for lock in list(_HELD):
        lock.forget()
