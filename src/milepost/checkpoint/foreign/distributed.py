"""Folders of `torch.distributed.checkpoint`: a pickle of what there is, and files of tensors saved one by one.

Promise: reads `.metadata` and, of each stored item, its small pickle; tensors saved in pieces are one tensor again.
Items that lie outside the folder, or share bytes, are refused.
Failure: ForeignFileError with the item and what is wrong.

Source: `metadata.py` and `filesystem.py` in `torch/distributed/checkpoint`, version 1.0.0 of the format.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from milepost.checkpoint.foreign.allowed import HARMLESS, dtype_name, integers
from milepost.checkpoint.foreign.content import Content
from milepost.checkpoint.foreign.leaves import ChunkedTensor, StridedTensor
from milepost.checkpoint.foreign.machine import read_pickle
from milepost.checkpoint.foreign.nodes import Global, Instance, Node, Pairs, list_of, tuple_of
from milepost.checkpoint.foreign.plain import FREE_COST
from milepost.checkpoint.foreign.torchzip import read_torch_zip
from milepost.checkpoint.foreign.window import Files
from milepost.errors import ForeignFileError

METADATA = ".metadata"
DISTRIBUTED = "distributed checkpoint"
_CLASSES = frozenset(
    f"torch.distributed.checkpoint.{name}"
    for name in (
        "metadata.Metadata",
        "metadata.MetadataIndex",
        "metadata.TensorStorageMetadata",
        "metadata.BytesStorageMetadata",
        "metadata.ChunkStorageMetadata",
        "metadata.TensorProperties",
        "metadata._MEM_FORMAT_ENCODING",
        "metadata.StorageMeta",
        "filesystem._StorageInfo",
    )
)


@dataclass(frozen=True, slots=True)
class _Item:
    """Where one stored item lies."""

    file: str
    offset: int
    size: int


def read_distributed(folder: Path, files: Files) -> Content:
    """Describe the folder, which has a `.metadata`."""
    pickle = read_pickle(files.whole(folder / METADATA))
    fields = _fields(pickle.root, "Metadata")
    items = _items(fields.get("storage_data"))
    _check_apart(items)
    free = FREE_COST // max(len(items), 1)
    loaded = {index: _load(folder, files, item, free) for index, item in items.items()}
    tree: dict[str, Any] = {}
    for key, value in _pairs(fields.get("state_dict_metadata"), "state_dict_metadata"):
        if not isinstance(key, str):
            raise ForeignFileError("expected texts as names of a distributed checkpoint, found something else")
        tree[key] = _entry(key, value, loaded)
    names = dict.fromkeys(pickle.globals)
    for content in loaded.values():
        names.update(dict.fromkeys(content.globals))
    version = fields.get("version")
    facts = {"version": version} if isinstance(version, str) else {}
    return Content(tree, DISTRIBUTED, tuple(names), facts, HARMLESS | _CLASSES)


def _entry(key: str, value: Node, loaded: Mapping[tuple[str, str], Content]) -> Any:
    if not (isinstance(value, Instance) and _class(value) == "TensorStorageMetadata"):
        if (key, "") not in loaded:
            raise ForeignFileError(f"{key!r} is stored nowhere")
        return loaded[key, ""].tree
    fields = _fields(value, "TensorStorageMetadata")
    shape = integers(fields.get("size"))
    dtype = dtype_name(_dtype(fields.get("properties")))
    chunks: list[tuple[tuple[int, ...], StridedTensor]] = []
    for chunk in list_of(fields.get("chunks")):
        parts = _fields(chunk, "ChunkStorageMetadata")
        offsets, sizes = integers(parts.get("offsets")), integers(parts.get("sizes"))
        content = loaded.get((key, str(offsets)))
        leaf = content.tree if content else None
        if not len(offsets) == len(sizes) == len(shape) or not isinstance(leaf, StridedTensor) or leaf.shape != sizes:
            raise ForeignFileError(f"{key!r}: expected a tensor of shape {sizes} at {offsets}, found something else")
        chunks.append((offsets, leaf))
    return ChunkedTensor(dtype, shape, tuple(chunks))


def _dtype(properties: Node) -> Node:
    """Return the dtype of TensorProperties, whose state is a tuple that begins with it."""
    state = properties.states[-1] if isinstance(properties, Instance) and properties.states else None
    return next(iter(tuple_of(state)), None)


# Stored items are found by name and offsets, as text: hashes of chosen integers can be made to collide.
def _items(node: Node) -> dict[tuple[str, str], _Item]:
    found: dict[tuple[str, str], _Item] = {}
    for key, value in _pairs(node, "storage_data"):
        index = _fields(key, "MetadataIndex")
        name, offset = index.get("fqn"), index.get("offset")
        where = _fields(value, "_StorageInfo")
        file, begin, size = (where.get(part) for part in ("relative_path", "offset", "length"))
        if not isinstance(name, str) or not isinstance(file, str) or type(begin) is not int or type(size) is not int:
            raise ForeignFileError("expected name, file, offset and length of a stored item, found something else")
        if where.get("transform_descriptors") is not None:
            raise ForeignFileError(f"{name!r} is stored compressed or encrypted, which is not supported")
        if not file or "/" in file or "\\" in file or file.startswith(".") or "\0" in file:
            raise ForeignFileError(f"{name!r} is said to be in {file[:80]!r}, which leaves the folder")
        found[name, "" if offset is None else str(integers(offset))] = _Item(file, begin, size)
    return found


def _check_apart(items: Mapping[tuple[str, str], _Item]) -> None:
    ordered = sorted(items.values(), key=lambda item: (item.file, item.offset))
    for first, second in pairwise(ordered):
        if first.file == second.file and first.offset + first.size > second.offset:
            raise ForeignFileError(f"two items overlap at byte {second.offset} of '{first.file}'")


def _load(folder: Path, files: Files, item: _Item, free: int) -> Content:
    content = read_torch_zip(files.whole(folder / item.file).part(item.offset, item.size), free)
    if content is None:
        raise ForeignFileError(f"byte {item.offset} of '{item.file}' does not begin what torch.save writes")
    return content


def _class(instance: Instance) -> str:
    return instance.callable.name if isinstance(instance.callable, Global) else ""


def _fields(node: Node, expected: str) -> dict[str, Node]:
    """Return the attributes of a data class."""
    if not isinstance(node, Instance) or _class(node) != expected:
        found = _class(node) if isinstance(node, Instance) else type(node).__name__
        raise ForeignFileError(f"expected an object of the class {expected}, found {found}")
    pairs = _pairs(node.states[-1], expected) if node.states else []
    return {key: value for key, value in pairs if isinstance(key, str)}


def _pairs(node: Node, what: str) -> list[tuple[Node, Node]]:
    if not isinstance(node, Pairs):
        raise ForeignFileError(f"expected a dict as {what}, found {type(node).__name__}")
    return node.pairs
