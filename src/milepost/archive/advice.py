"""What to do about an error of the operating system: one instruction for each kind.

Promise: `advice_on` has an instruction for every error; those for errors that are told apart remove their cause.
"""

import errno
from collections.abc import Mapping
from pathlib import Path

_ROOM = "Free space there, then save again"
_RIGHTS = "Choose a folder that you may write to"
_DEVICE = "Save to another device; this one, or the way to it, is failing"
_HANDLES = "Close files that are no longer needed, or raise the limit (`ulimit -n`)"
_BY_ERROR: Mapping[int, str] = {
    errno.ENOENT: "Create the folder '{folder}' first",
    errno.ENOTDIR: "Choose another folder: a part of '{folder}' is a file",
    errno.EEXIST: "Choose another name",
    errno.EISDIR: "Choose another name: a folder has this one",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EILSEQ: "Choose a name that the file system can spell",
    errno.ELOOP: "Choose another folder: links in '{folder}' lead in a circle",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "Choose a file system that takes files of this size, or raise the limit (`ulimit -f`)",
    errno.EIO: _DEVICE,
    errno.ENXIO: _DEVICE,
    errno.ENODEV: _DEVICE,
    errno.ESTALE: "Mount the file system of '{folder}' again",
    errno.EMFILE: _HANDLES,
    errno.ENFILE: _HANDLES,
    errno.EINVAL: "Give the path of a file",
}


def advice_on(cause: int | None, path: Path) -> str:
    """Return what to do where `path` could not be written because of an error of this number."""
    advice = _BY_ERROR.get(cause or 0, "Save again, to another folder if this one keeps failing")
    return f"{advice}.".replace("{folder}", str(path.parent))
