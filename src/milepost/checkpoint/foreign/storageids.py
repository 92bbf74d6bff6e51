"""The persistent ids with which PyTorch's pickles refer to storages.

Promise: an id is read strictly: ("storage", type, key, location, number of elements), and in files of before
PyTorch 1.6 a view of it. The location (a device) is not used: everything is read into host memory.
Failure: ForeignFileError with the id's part that is wrong.

Source: `_save` and `_legacy_save` in `torch/serialization.py`, PyTorch 1.0 to 2.13.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from milepost.checkpoint.foreign.leaves import DTYPES, STORAGE_DTYPES
from milepost.checkpoint.foreign.nodes import Global, Node, tuple_of
from milepost.errors import ForeignFileError

_MODULES = ("torch", "torch.cuda", "torch.storage")
_MAX_KEY = 64


@dataclass(frozen=True, slots=True)
class StorageId:
    """A storage as an id states it; `view` is (key, first element, elements) of a part of it."""

    key: str
    dtype: str
    count: int
    view: tuple[str, int, int] | None = None

    @property
    def size(self) -> int:
        """The bytes that the id states."""
        return self.count * DTYPES[self.dtype][1]


def read_storage_id(node: Node) -> StorageId:
    """Read the id of a storage."""
    parts: Sequence[Node] = tuple_of(node)
    if len(parts) not in (5, 6) or parts[0] != "storage":
        raise ForeignFileError("expected the persistent id of a storage, found something else")
    _, kind, key, _, count = parts[:5]
    known = isinstance(kind, Global) and kind.module in _MODULES and kind.name in STORAGE_DTYPES
    if not isinstance(kind, Global) or not known:
        found = kind.full if isinstance(kind, Global) else type(kind).__name__
        raise ForeignFileError(f"expected a class of storages, found {found}")
    if not isinstance(key, str) or not (key.isascii() and key.isdigit()) or len(key) > _MAX_KEY:
        raise ForeignFileError("expected digits as the key of a storage, found something else")
    if type(count) is not int or count < 0:
        raise ForeignFileError(f"storage {key}: expected a number of elements, found another value")
    return StorageId(key, STORAGE_DTYPES[kind.name], count, _view(parts[5]) if len(parts) == 6 else None)


def is_class_id(node: Node) -> bool:
    """Tell whether an id stands for a class with its source, as files of before PyTorch 1.6 have them."""
    parts = tuple_of(node)
    return len(parts) == 4 and parts[0] == "module"


def _view(node: Node) -> tuple[str, int, int] | None:
    if node is None:
        return None
    parts = tuple_of(node)
    if len(parts) == 3:
        key, first, count = parts
        if isinstance(key, str) and type(first) is int and type(count) is int and first >= 0 and count >= 0:
            return key, first, count
    raise ForeignFileError("expected (key, first element, elements) as the view of a storage, found something else")
