"""What differs between the tensors of two files of any kind: ours, or of other programs.

Promise: two files of one other program's kind are compared by all their tensors and their metadata; two of different
kinds by their weights, as `convert` would take them, so that a file can be compared with what it was converted to.
Needs memory for what is compared.
Failure: NotAnArchiveError for a file that is of no kind known here, ConversionError where it has no tensors or weights;
ForeignFileError and the ArchiveError family where one cannot be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from milepost.archive import kind_of
from milepost.archive.tensors import data_of, stored_form
from milepost.checkpoint.comparing import Comparison, Form, TensorDifference, compare_archives
from milepost.checkpoint.foreign import open_foreign
from milepost.checkpoint.loading import load_checkpoint
from milepost.checkpoint.selection import Weights, foreign_weights, own_weights
from milepost.checkpoint.tensor_distance import distance
from milepost.errors import ConversionError, NotAnArchiveError
from milepost.options import differences

if TYPE_CHECKING:
    from milepost.checkpoint.foreign import ForeignFile


@dataclass(frozen=True)
class _Side:
    """One file: its tensors by name, where they lay, and what it says about itself."""

    tensors: Mapping[str, torch.Tensor]
    origin: str
    metadata: Mapping[str, Any]


def compare_files(a: Path | str, b: Path | str) -> Comparison:
    """Compare two files of any kind that `milepost show` describes; see the module for what is compared."""
    a, b = Path(a), Path(b)
    foreign = [None if _is_ours(path) else _opened(path) for path in (a, b)]
    if foreign == [None, None]:
        return compare_archives(a, b)
    one, other = foreign
    if one is not None and other is not None and one.kind == other.kind:
        return _compared(_whole(a, one), _whole(b, other))
    return _compared(*(_weights(path, file) for path, file in ((a, one), (b, other))))


def _is_ours(path: Path) -> bool:
    return not path.is_dir() and kind_of(path) is not None


def _opened(path: Path) -> "ForeignFile":
    found = open_foreign(path)
    if found is None:
        raise NotAnArchiveError(
            f"could not compare '{path}': expected a checkpoint or a file of tensors, found something else. "
            "`milepost show` says what it is."
        )
    return found


def _whole(path: Path, file: "ForeignFile") -> _Side:
    """Take all tensors and the metadata; programs are not compared, so a file of nothing else is refused."""
    tensors = file.tensors()
    if not tensors:
        raise ConversionError(
            f"could not compare '{path}': expected tensors in this {file.kind}, found none. Other contents are not "
            "compared: use a program for files of any kind."
        )
    return _Side(tensors, f"tensors and metadata of a {file.kind}", file.metadata)


def _weights(path: Path, file: "ForeignFile | None") -> _Side:
    if file is not None:
        found: Weights = foreign_weights(file, path)
    else:
        with load_checkpoint(path) as checkpoint:
            found = own_weights(checkpoint)
    return _Side(found.tensors, found.origin, {})


def _compared(a: _Side, b: _Side) -> Comparison:
    found = [_difference(name, a, b) for name in dict.fromkeys([*a.tensors, *b.tensors])]
    sections = {"metadata": tuple(differences(dict(a.metadata), dict(b.metadata)))}
    return Comparison(
        MappingProxyType(sections),
        tensors=tuple(difference for difference in found if difference is not None),
        equal_tensors=found.count(None),
        compared=(a.origin, b.origin),
    )


def _difference(name: str, a: _Side, b: _Side) -> TensorDifference | None:
    """Compare two tensors of one name; None stands for two that are equal."""
    one, other = a.tensors.get(name), b.tensors.get(name)
    if one is None or other is None or _form(one) != _form(other):
        return TensorDifference("", name, _maybe_form(one), _maybe_form(other))
    if np.array_equal(np.asarray(data_of(one)), np.asarray(data_of(other))):
        return None
    return TensorDifference("", name, _form(one), _form(other), distance(one, other))


def _maybe_form(tensor: torch.Tensor | None) -> Form | None:
    return None if tensor is None else _form(tensor)


def _form(tensor: torch.Tensor) -> Form:
    """Name a tensor's type as our files do, and one that has no name there as torch does."""
    stored, _, note = stored_form(tensor)
    return Form(note or stored, tuple(tensor.shape))
