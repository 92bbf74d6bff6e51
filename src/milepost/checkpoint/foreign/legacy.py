"""Files of `torch.save` of before PyTorch 1.6, and pickles of other programs.

Promise: a legacy file is a row of pickles (magic number, version, system, value, keys) and then its storages, which
are located, not read; numbers are little-endian in a file of any machine. A lone pickle is described; it has no tensors
but numpy's.
Failure: ForeignFileError with the part that is wrong.

Source: `_legacy_save` in `torch/serialization.py`, `THPStorage_writeFileRaw` in
`torch/csrc/StorageMethods`.
"""

from typing import cast

from milepost.checkpoint.foreign.content import Content, plain_tree
from milepost.checkpoint.foreign.leaves import DTYPES, Storage
from milepost.checkpoint.foreign.machine import Pickle, read_pickle
from milepost.checkpoint.foreign.nodes import Node, Pairs, list_of, tuple_of
from milepost.checkpoint.foreign.storageids import StorageId, is_class_id, read_storage_id
from milepost.checkpoint.foreign.window import Extent, Window
from milepost.errors import ForeignFileError

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_COUNT_BYTES = 8
PICKLE = "pickle file"


def read_pickles(window: Window) -> Content:
    """Describe a file that begins with a pickle."""
    first = read_pickle(window)
    if type(first.root) is int and first.root == _MAGIC:
        return _read_legacy(window, first.end)
    if first.end != window.size:
        raise ForeignFileError(f"expected one pickle, found {window.size - first.end} bytes after its end")
    return Content(plain_tree(first, _outside), PICKLE, first.globals)


def _outside(key: Node) -> Node:
    raise ForeignFileError("it refers to something outside by a persistent id, and nothing here has one")


def _read_legacy(window: Window, at: int) -> Content:
    version = read_pickle(window, at)
    if version.root != _VERSION:
        raise ForeignFileError(f"expected version {_VERSION} of the legacy format, found another")
    system = read_pickle(window, version.end)
    pairs = dict(cast(list[tuple[str, Node]], _text_pairs(system.root)))
    if not isinstance(little := pairs.get("little_endian"), bool):
        raise ForeignFileError("expected true or false as 'little_endian', found something else")
    value = read_pickle(window, system.end)
    keys = read_pickle(window, value.end)
    storages = _Storages(window, _places(window, keys), keys.end, value)
    facts = {} if little else {"byte_order": "big"}
    return Content(plain_tree(value, storages), None, value.globals, facts)


def _text_pairs(node: Node) -> list[tuple[Node, Node]]:
    return [pair for pair in node.pairs if isinstance(pair[0], str)] if isinstance(node, Pairs) else []


def _places(window: Window, keys: Pickle) -> list[str]:
    found = list_of(keys.root)
    if not isinstance(keys.root, list) or not all(isinstance(key, str) for key in found):
        raise ForeignFileError("expected a list of the storages' keys, found something else")
    if len(set(found)) != len(found):
        raise ForeignFileError("the list of the storages' keys has one of them twice")
    return cast(list[str], found)


class _Storages:
    """Locate the storages, which follow each other: a count of 8 bytes, then the elements."""

    def __init__(self, window: Window, keys: list[str], begin: int, value: Pickle) -> None:
        wanted = _stated(value.references)
        self._found: dict[str, tuple[StorageId, Storage]] = {}
        self._parts: dict[StorageId, Storage] = {}
        for key in keys:
            if key not in wanted:
                raise ForeignFileError(f"storage {key} is stored and referred to by nothing")
            one = wanted[key]
            count = int.from_bytes(window.read(begin, _COUNT_BYTES), "little")
            if count != one.count:
                raise ForeignFileError(f"storage {key}: expected {one.count} elements, found {count}")
            self._found[key] = one, Storage(window.extent(begin + _COUNT_BYTES, one.size), one.dtype)
            begin += _COUNT_BYTES + one.size
        if begin != window.size:
            raise ForeignFileError(f"expected the end of the file at byte {begin}, found it at {window.size}")

    def __call__(self, key: Node) -> "Storage | Node":
        if is_class_id(key):
            return tuple_of(key)[1]
        wanted = read_storage_id(key)
        if wanted.key not in self._found:
            raise ForeignFileError(f"storage {wanted.key} is missing")
        known, storage = self._found[wanted.key]
        if (known.dtype, known.count) != (wanted.dtype, wanted.count):
            raise ForeignFileError(f"storage {wanted.key} is referred to with two dtypes or sizes")
        return storage if wanted.view is None else self._part(wanted, storage)

    def _part(self, wanted: StorageId, storage: Storage) -> Storage:
        if wanted not in self._parts:
            _, first, count = cast(tuple[str, int, int], wanted.view)
            if first + count > wanted.count:
                raise ForeignFileError(f"the view of storage {wanted.key} is not within it")
            width, whole = DTYPES[wanted.dtype][1], storage.extent
            part = Extent(whole.path, whole.offset + first * width, count * width)
            self._parts[wanted] = Storage(part, wanted.dtype)
        return self._parts[wanted]


def _stated(references: tuple[Node, ...]) -> dict[str, StorageId]:
    """Return the storages' ids by key, as the pickle states them."""
    found: dict[str, StorageId] = {}
    for reference in references:
        if not is_class_id(reference):
            one = read_storage_id(reference)
            found.setdefault(one.key, one)
    return found
