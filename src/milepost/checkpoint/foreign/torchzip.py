"""Files of `torch.save` since PyTorch 1.6, and TorchScript archives: a zip with a pickle and one entry per storage.

Promise: reads the zip directory, `<name>/data.pkl` and a few small entries; storages are located, not read.
Failure: ForeignFileError with the rule that is broken; `read_torch_zip` returns None for other zip files.

Source: `_save` in `torch/serialization.py` and `caffe2/serialize/inline_container.h`.
"""

import zlib
from collections.abc import Mapping

from milepost.checkpoint.foreign.content import Content, plain_tree
from milepost.checkpoint.foreign.leaves import DTYPES, Storage
from milepost.checkpoint.foreign.machine import read_pickle
from milepost.checkpoint.foreign.nodes import Node
from milepost.checkpoint.foreign.plain import FREE_COST
from milepost.checkpoint.foreign.storageids import StorageId, read_storage_id
from milepost.checkpoint.foreign.window import Window
from milepost.checkpoint.foreign.zipped import Member, check_crc, locate, read_directory, read_member
from milepost.errors import ForeignFileError

_PICKLE = "/data.pkl"
_SMALL = 64
_LITTLE, _BIG = b"little", b"big"
TORCHSCRIPT = "torchscript archive"


def read_torch_zip(window: Window, free: int = FREE_COST) -> Content | None:
    """Describe the file, or return None where it is a zip file of another kind; for `free` see `plain_tree`."""
    members = read_directory(window)
    if members is None:
        raise ForeignFileError("it begins as a zip file and has no end record: it is truncated")
    folder = _folder(members)
    if folder is None:
        return None
    swapped = is_big_endian(window, members, folder)
    member = members[folder + _PICKLE]
    extent = locate(window, member)
    part = window.part(extent.offset - window.begin, extent.size)
    _check_pickle(part, member, extent.crc)
    pickle = read_pickle(part)
    if pickle.end != part.size:
        raise ForeignFileError(f"{member.name} has {part.size - pickle.end} bytes after its end")
    storages = _Storages(window, members, folder, swapped=swapped)
    kind = TORCHSCRIPT if f"{folder}/constants.pkl" in members else None
    facts = {"byte_order": "big"} if swapped else {}
    return Content(plain_tree(pickle, storages, free), kind, pickle.globals, facts)


def is_big_endian(window: Window, members: Mapping[str, Member], folder: str) -> bool:
    """Tell whether numbers have their most significant byte first; files that do not state it are little-endian."""
    name = f"{folder}/byteorder"
    found = read_member(window, members, name, _SMALL) if name in members else _LITTLE
    if found not in (_LITTLE, _BIG):
        raise ForeignFileError(f"expected the byte order 'little' or 'big', found {found!r}")
    return found == _BIG


def _folder(members: Mapping[str, Member]) -> str | None:
    """Return the folder that all entries are in, if it has a pickle."""
    found = [name.removesuffix(_PICKLE) for name in members if name.endswith(_PICKLE) and name.count("/") == 1]
    if not found:
        return None
    outside = [name for name in members if not name.startswith(f"{found[0]}/")]
    if outside:
        raise ForeignFileError(f"expected every zip entry in '{found[0]}/', found {outside[0]!r}")
    return found[0]


def _check_pickle(part: Window, member: Member, crc: int | None) -> None:
    found, at = 0, 0
    while at < part.size:
        piece = part.read(at, min(2**20, part.size - at))
        found, at = zlib.crc32(piece, found), at + len(piece)
    check_crc(part.extent(0, part.size, crc), found, member.name)


class _Storages:
    """Locate storages by their persistent ids, each once."""

    def __init__(self, window: Window, members: Mapping[str, Member], folder: str, *, swapped: bool) -> None:
        self._swapped = swapped
        self._window = window
        self._members = members
        self._folder = folder
        self._found: dict[str, tuple[StorageId, Storage]] = {}

    def __call__(self, key: Node) -> Storage:
        wanted = read_storage_id(key)
        if wanted.key not in self._found:
            self._found[wanted.key] = wanted, self._locate(wanted)
        known, storage = self._found[wanted.key]
        if known != wanted:
            raise ForeignFileError(f"storage {wanted.key} is referred to with two dtypes or sizes")
        return storage

    def _locate(self, wanted: StorageId) -> Storage:
        name = f"{self._folder}/data/{wanted.key}"
        if name not in self._members:
            raise ForeignFileError(f"the storage '{name}' is missing")
        extent = locate(self._window, self._members[name])
        # A storage may have bytes left over that make no whole element.
        if not 0 <= extent.size - wanted.size < DTYPES[wanted.dtype][1]:
            raise ForeignFileError(f"storage {wanted.key}: expected {wanted.size} bytes, found {extent.size}")
        return Storage(extent, wanted.dtype, self._swapped)
