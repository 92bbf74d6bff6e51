"""A foreign file, opened: what it is, what is in it, and what unpickling it would import.

Promise: nothing that the file names is imported or run. Opening reads directories and pickles; tensors are read when
they are asked for.
Failure: ForeignFileError naming the file, what is wrong with it, and what to do.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from milepost.archive import TensorRow, Tree
from milepost.checkpoint.foreign.content import Content
from milepost.checkpoint.foreign.kinds import kind_of_tree, metadata_of
from milepost.checkpoint.foreign.leaves import DTYPES, LEAVES, Leaf, nbytes
from milepost.checkpoint.foreign.unread import Unread, unread
from milepost.checkpoint.foreign.window import NOT_REGULAR, Files
from milepost.errors import ForeignFileError

if TYPE_CHECKING:
    import torch

_Result = TypeVar("_Result")
_MAX_NAME = 4096
_MAX_NAMES_TOTAL = 2**28
_FREE_BYTES = 64 * 2**20
_BYTES_PER_BYTE = 16
_ADVICE = "Do not use this file; get it again from a source that you trust."


class ForeignFile:
    """What `open_foreign` found; the file itself is open only while a method reads it."""

    def __init__(self, path: Path, content: Content, files: Files) -> None:
        self.path = path
        self.kind: str = content.kind or kind_of_tree(content.tree)
        self.metadata: Mapping[str, Any] = {**content.facts, **metadata_of(self.kind, content.tree)}
        self.globals: tuple[str, ...] = content.globals
        self.suspicious: tuple[str, ...] = tuple(name for name in content.globals if name not in content.harmless)
        self._content = content.tree
        self._files = files
        self._named, self._renamed = _names(content.tree)
        _check_size(self._named, files.size)

    def tensor_table(self) -> list[TensorRow]:
        """List the tensors in the order of the tree; reads nothing.

        dtypes are named as safetensors names them, complex ones C32, C64 and C128. `digest` is empty: these files
        have none.
        """
        return [
            TensorRow(name, DTYPES[leaf.dtype][0], leaf.shape, nbytes(leaf), "") for name, leaf in self._named.items()
        ]

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Return all tensors by their places in the tree, joined by dots; `~2` is added to a name that is taken.

        They are in host memory, bit for bit as saved and need no gradient; tensors that shared memory share it.

        Raises ForeignFileError for damaged bytes, or where the file changed since it was opened.
        """
        return guarded(self.path, lambda: self._read(lambda load: {n: load(leaf) for n, leaf in self._named.items()}))

    def unread(self, taken: Collection[str] = ()) -> list[Unread]:
        """List what is not among the tensors, by place, but for places that are `taken` by other use; reads nothing.

        The parts of a special tensor are among them, under its place.
        """
        return unread(self._content, taken)

    @property
    def unnamed(self) -> tuple[str, ...]:
        """Tensors whose own name is empty or another's, by the names that `tensors` gives them."""
        return () if isinstance(self._content, LEAVES) else self._renamed

    def tree(self) -> Tree:
        """Return the whole content with its tensors, as `tensors` returns them.

        What is no value of a tree is {"class": "module.name", "state": what it holds}; a namespace is a dict, a path a
        text, a dtype its name, an array of numpy a tensor.
        """
        return guarded(self.path, lambda: self._read(lambda load: _filled(self._content, load)))

    def _read(self, use: "Callable[[Callable[[Leaf], torch.Tensor]], _Result]") -> _Result:
        from milepost.checkpoint.foreign.memory import Memory

        with self._files.reading() as files:
            return use(Memory(files).load)


def guarded(path: Path, read: Callable[[], _Result]) -> _Result:
    """Say in every ForeignFileError which file it is about, and what to do."""
    try:
        return read()
    except ForeignFileError as error:
        advice = "Give the path of a file." if str(error) == NOT_REGULAR else _ADVICE
        raise ForeignFileError(f"could not read '{path}': {error}. {advice}") from None


def _filled(value: Any, load: Callable[[Leaf], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, load) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list):
        return [_filled(item, load) for item in cast(list[Any], value)]
    if isinstance(value, tuple):
        return tuple(_filled(item, load) for item in cast(tuple[Any, ...], value))
    return load(value) if isinstance(value, LEAVES) else value


def _names(tree: Any) -> tuple[dict[str, Leaf], tuple[str, ...]]:
    """Name every leaf by its place, and list the names that are not the place; raises ForeignFileError where the names
    grow out of all proportion.
    """
    renamed: list[str] = []
    named: dict[str, Leaf] = {}
    twice: dict[str, int] = {}
    total = 0
    for name, leaf in _leaves(tree, ""):
        total += len(name)
        if len(name) > _MAX_NAME or total > _MAX_NAMES_TOTAL:
            raise ForeignFileError(f"the name of a tensor is too long: {name[:80]!r}")
        place, free = name, name or "tensor"
        name = free
        while free in named:
            count = twice[name] = twice.get(name, 1) + 1
            free = f"{name}~{count}"
        named[free] = leaf
        if free != place:
            renamed.append(free)
    return named, tuple(renamed)


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Leaf]]:
    if isinstance(value, LEAVES):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        if len(name) > _MAX_NAME:
            raise ForeignFileError(f"the place of a value is too deep: {name[:80]!r}")
        items = cast(dict[Any, Any], value).items() if isinstance(value, dict) else enumerate(cast(list[Any], value))
        for key, item in items:
            if isinstance(item, (dict, list, tuple, *LEAVES)):
                yield from _leaves(item, f"{name}.{key}" if name else str(key))


def _check_size(named: Mapping[str, Leaf], size: int) -> None:
    """Refuse tensors that repeat a few stored bytes into more than any honest file holds."""
    limit = _FREE_BYTES + _BYTES_PER_BYTE * size
    total = sum(nbytes(leaf) for leaf in {id(leaf): leaf for leaf in named.values()}.values())
    if total > limit:
        raise ForeignFileError(f"its tensors would take {total} bytes, from a file of {size}")
