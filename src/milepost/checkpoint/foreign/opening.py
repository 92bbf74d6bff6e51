"""Tell what a foreign file is, by its content, and open it.

Promise: the name of a file or its ending decides nothing. Opening imports nothing that the file names.
Failure: ForeignFileError for a file of a known kind that is damaged or hostile; OSError where it cannot be read.
"""

from collections.abc import Callable
from pathlib import Path

from milepost.checkpoint.foreign.content import Content
from milepost.checkpoint.foreign.distributed import METADATA, read_distributed
from milepost.checkpoint.foreign.file import ForeignFile, guarded
from milepost.checkpoint.foreign.legacy import read_pickles
from milepost.checkpoint.foreign.machine import HIGHEST_PROTOCOL
from milepost.checkpoint.foreign.programs import read_program
from milepost.checkpoint.foreign.safetensorsfile import read_safetensors
from milepost.checkpoint.foreign.torchzip import read_torch_zip
from milepost.checkpoint.foreign.window import Files, Window
from milepost.errors import ForeignFileError

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PROTO = 0x80
_FIRST_BINARY = 2
_TAR_MARK, _TAR_PLACE = b"ustar", 257
# First opcodes of pickles of protocols 0 and 1, which have no mark of their own.
_TEXTUAL = frozenset(b"(]})cilIVSFGJKMNX")
_MAX_TEXTUAL = 2**24


def open_foreign(path: Path | str) -> ForeignFile | None:
    """Open a file or folder that another program wrote; None where it is of no kind that is known here.

    Raises ForeignFileError for a damaged or hostile file, FileNotFoundError and other OSErrors as the system does.
    """
    path = Path(path)
    return guarded(path, lambda: _open(path))


def _open(path: Path) -> ForeignFile | None:
    files = Files()
    with files.reading():
        if path.is_dir():
            if not (path / METADATA).is_file():
                return None
            content = read_distributed(path, files)
        else:
            content = _read(files.whole(path))
        return ForeignFile(path, content, files) if content else None


def _read(window: Window) -> Content | None:
    first = window.read(0, min(4, window.size))
    if first in _ZIP:
        return read_torch_zip(window) or read_program(window)
    if len(first) > 1 and first[0] == _PROTO and _FIRST_BINARY <= first[1] <= HIGHEST_PROTOCOL:
        return read_pickles(window)
    if window.size > _TAR_PLACE + len(_TAR_MARK) and window.read(_TAR_PLACE, len(_TAR_MARK)) == _TAR_MARK:
        return _refuse_tar(window)
    return read_safetensors(window) or _if_readable(window, first, read_pickles)


def _if_readable(window: Window, first: bytes, read: Callable[[Window], Content]) -> Content | None:
    """Read a pickle of protocol 0 or 1, which only its sense tells from any other file."""
    if not first or first[0] not in _TEXTUAL or window.size > _MAX_TEXTUAL:
        return None
    try:
        return read(window)
    except ForeignFileError:
        return None


def _refuse_tar(window: Window) -> Content | None:
    """Refuse what PyTorch wrote before 0.1.10; every other tar file is no kind that is known."""
    names = {window.read(at, 100).rstrip(b"\0") for at in range(0, min(window.size - 100, 2**16), 512)}
    if not {b"storages", b"tensors", b"pickle"} & names:
        return None
    raise ForeignFileError("it has the tar format of PyTorch before 0.1.10; save it again with a later PyTorch")
