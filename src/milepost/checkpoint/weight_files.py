"""Weights by name → files that other programs open: safetensors, and what `torch.load(weights_only=True)` reads.

Promise: names, dtypes, shapes and every bit are those given, and two names of one tensor stay tied as each format says
it; a draft is read back and compared before it gets its name.
Failure: ConversionError naming the tensor that the format has no place for, or that came back otherwise.

The state dict is the one pickle that Milepost writes, for programs that read nothing else: a dict of tensors by name,
which holds no code. The only pickle read here is that draft of our own, and by torch's own limited reader.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from milepost.archive import FileSystem, jsontext
from milepost.archive.source import Source
from milepost.archive.tensorfile import METADATA_KEY, place
from milepost.archive.tensors import data_of, identity, stored_form
from milepost.errors import ConversionError

Tensors = Mapping[str, torch.Tensor]

_ALIGNMENT = 64
_PIECE = 16 * 2**20


class CheckedFileSystem(FileSystem):
    """Compare a draft with what it should hold, just before it is given its name."""

    def __init__(self, check: Callable[[Path], None]) -> None:
        self._check = check

    def link(self, source: Path, target: Path) -> None:
        """Compare, then give the draft its name."""
        self._check(source)
        super().link(source, target)

    def replace(self, source: Path, target: Path) -> None:
        """Compare, then rename the draft."""
        self._check(source)
        super().replace(source, target)


def ties(tensors: Tensors) -> dict[str, str]:
    """Map each name whose tensor has an earlier name, in the order of names, to that name."""
    first: dict[Any, str] = {}
    tied: dict[str, str] = {}
    for name in sorted(tensors):
        kept = first.setdefault(identity(tensors[name]), name)
        # Empty tensors share no memory, so that no program takes them for tied.
        if kept != name and tensors[name].numel():
            tied[name] = kept
    return tied


@dataclass(frozen=True)
class SafetensorsFile:
    """A safetensors file. Tied tensors are stored once, under the first of their names; the others are listed in its
    metadata, as `safetensors.torch.save_model` does, so that `load_model` restores them.

    Source: https://huggingface.co/docs/safetensors, https://huggingface.co/docs/safetensors/torch_shared_tensors.
    """

    where: Path
    tensors: Tensors

    def write(self, stream: BinaryIO) -> None:
        """Write the file."""
        header, stored = self._header()
        stream.write(header)
        for tensor in stored:
            stream.write(data_of(self.tensors[tensor.name]))

    def check(self, draft: Path) -> None:
        """Read a draft back, tensor by tensor."""
        header, stored = self._header()
        with Source(draft) as source:
            found = source.read(0, min(source.size, len(header)))
            if found != header or source.size != len(header) + (stored[-1].end if stored else 0):
                raise ConversionError(f"could not convert to '{self.where}': its header was not read back as written.")
            for tensor in stored:
                data = data_of(self.tensors[tensor.name])
                for begin in range(0, len(data), _PIECE):
                    piece = data[begin : begin + _PIECE]
                    if memoryview(source.read(len(header) + tensor.begin + begin, len(piece))) != piece:
                        raise _changed(self.where, tensor.name)

    def _header(self) -> tuple[bytes, list[Any]]:
        forms = {name: _form(self.where, name, tensor) for name, tensor in self.tensors.items()}
        for name, (_, _, note) in forms.items():
            if note is not None or name == METADATA_KEY:
                what = f"the dtype {note}" if note is not None else "a tensor of that name"
                raise ConversionError(
                    f"could not convert to '{self.where}': tensor '{name}': expected what safetensors has a place for, "
                    f"found {what}. Convert it to a .pt or .ckpt file."
                )
        tied = ties(self.tensors)
        stored = place((name, dtype, shape) for name, (dtype, shape, _) in forms.items() if name not in tied)
        # Readers of the format ask for this key: it says that the tensors are torch's.
        table: dict[str, Any] = {METADATA_KEY: {"format": "pt", **tied}}
        for tensor in stored:
            offsets = (tensor.begin, tensor.end)
            table[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}
        text = jsontext.dumps_compact(table)
        text += b" " * (-(8 + len(text)) % _ALIGNMENT)
        return len(text).to_bytes(8, "little") + text, stored


@dataclass(frozen=True)
class StateDictFile:
    """A plain state dict as `torch.save` writes it: a dict of tensors by name, and nothing else."""

    where: Path
    tensors: Tensors

    def write(self, stream: BinaryIO) -> None:
        """Write the file."""
        for name, tensor in self.tensors.items():
            _form(self.where, name, tensor)
        tied = ties(self.tensors)
        own = {name: _compact(tensor) for name, tensor in self.tensors.items() if name not in tied}
        torch.save({name: own[tied.get(name, name)] for name in self.tensors}, stream)

    def check(self, draft: Path) -> None:
        """Read a draft back as its users will."""
        found = cast(Mapping[str, Any], torch.load(draft, map_location="cpu", weights_only=True))
        compare(self.where, self.tensors, found)
        if ties(found) != ties(self.tensors):
            raise ConversionError(f"could not convert to '{self.where}': its tied tensors were read back untied.")


@dataclass(frozen=True)
class PlainFile:
    """Tensors in plain containers as `torch.save` writes them: what `torch.load(weights_only=True)` opens."""

    where: Path
    tree: Mapping[str, Any]

    def write(self, stream: BinaryIO) -> None:
        """Write the file."""
        torch.save(dict(self.tree), stream)

    def check(self, draft: Path) -> None:
        """Read a draft back as its users will."""
        compare(self.where, self.tree, torch.load(draft, map_location="cpu", weights_only=True))


def compare(where: Path, expected: Any, found: Any, path: tuple[str, ...] = ()) -> None:
    """Compare a tree with what was read back, to the last bit; raises ConversionError naming the place."""
    if isinstance(expected, torch.Tensor):
        same = isinstance(found, torch.Tensor) and _same(expected, found)
    elif isinstance(expected, Mapping):
        inner = cast(Mapping[Any, Any], expected)
        same = isinstance(found, dict) and list(inner) == list(cast(dict[Any, Any], found))
        if same:
            for key, value in inner.items():
                compare(where, value, found[key], (*path, str(key)))
    elif isinstance(expected, list | tuple):
        items = cast(list[Any], expected)
        same = type(found) is type(items) and len(items) == len(found)
        if same:
            for index, value in enumerate(items):
                compare(where, value, found[index], (*path, str(index)))
    else:
        same = type(found) is type(expected) and (found == expected or (found != found and expected != expected))
    if not same:
        raise _changed(where, ".".join(path))


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return np.array_equal(np.asarray(data_of(one)), np.asarray(data_of(other)))


def _form(where: Path, name: str, tensor: torch.Tensor) -> tuple[str, tuple[int, ...], str | None]:
    try:
        return stored_form(tensor)
    except ValueError as error:
        raise ConversionError(f"could not convert to '{where}': tensor '{name}': {error}.") from error


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    """Return a plain tensor that shares no memory with values which are not its own."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    whole = plain.untyped_storage().nbytes() == plain.numel() * plain.element_size()
    return plain if whole else plain.clone()


def _changed(where: Path, name: str) -> ConversionError:
    return ConversionError(
        f"could not convert to '{where}': '{name}' was not read back as it was written. Nothing is left under that "
        "name; check the disk, then convert again."
    )
