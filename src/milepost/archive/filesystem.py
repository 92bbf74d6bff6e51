"""Every file-system call that writing makes, in one small object that a test can replace.

Promise: each method is one system call (or what the platform needs for it) and raises OSError as that call
does.
"""

import os
from contextlib import suppress
from pathlib import Path


class FileSystem:
    """Make the system calls of a commit; subclass it to inject faults or to count."""

    def create(self, path: Path) -> int:
        """Open a new file for writing, with the permissions that the umask leaves of 0666."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write some of `data` at the current position; return how many bytes were taken."""
        return os.write(descriptor, data)

    def begin_writeback(self, descriptor: int, offset: int, size: int) -> None:
        """Let the kernel start to put written bytes on the device: a hint, which cannot fail.

        So the device works while the next bytes are computed, and the fsync at the end finds little left to do.
        """
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(descriptor, offset, size, os.POSIX_FADV_DONTNEED)

    def seek(self, descriptor: int, offset: int, whence: int) -> int:
        """Move the current position."""
        return os.lseek(descriptor, offset, whence)

    def fsync(self, descriptor: int) -> None:
        """Wait until the file's content is on the device."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename `source` to `target`, replacing it atomically."""
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Give `source` the second name `target`; fails if that exists."""
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        os.unlink(path)

    def fsync_directory(self, folder: Path) -> None:
        """Wait until the folder's names are on the device."""
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
