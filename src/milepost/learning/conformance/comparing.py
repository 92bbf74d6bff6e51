"""Tell how states differ, bit by bit, or in size."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def difference(wanted: Any, found: Any, path: str = "") -> str | None:
    """Return the first place in which two trees of values differ, as "where: expected X, found Y"; None for none."""
    where = path or "all"
    if isinstance(wanted, Tensor) and isinstance(found, Tensor):
        return _of_tensors(wanted, found, where)
    if type(wanted) is not type(found):
        return f"{where}: expected {type(wanted).__name__}, found {type(found).__name__}"
    if isinstance(wanted, Mapping):
        if list(wanted) != list(found):
            return f"{where}: expected the keys {list(wanted)}, found {list(found)}"
        return _first(difference(wanted[key], found[key], f"{path}.{key}" if path else str(key)) for key in wanted)
    if isinstance(wanted, (list, tuple)):
        if len(wanted) != len(found):
            return f"{where}: expected {len(wanted)} values, found {len(found)}"
        return _first(difference(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(wanted, found, strict=True)))
    same = wanted == found or (isinstance(wanted, float) and wanted != wanted and found != found)
    return None if same else f"{where}: expected {wanted!r}, found {found!r}"


def grown(before: Sequence[Any], found: Any) -> str | None:
    """Return the first place of a tree that has the size of the same place in none of the trees before."""
    known = [dict(_sizes(tree)) for tree in before]
    for where, size in _sizes(found):
        others = [sizes.get(where, "nothing") for sizes in known]
        if size not in others:
            return f"{where}: expected {' or '.join(dict.fromkeys(others))} as before, found {size}"
    lost = [where for where in known[-1] if all(where in sizes for sizes in known) and where not in dict(_sizes(found))]
    return f"{lost[0]}: expected {known[-1][lost[0]]} as before, found nothing" if lost else None


def _sizes(tree: Any, path: str = "all") -> Iterator[tuple[str, str]]:
    """Name every tensor and collection in a tree by its place, with its size."""
    if isinstance(tree, Tensor):
        yield path, f"{list(tree.shape)} numbers"
    elif isinstance(tree, (Mapping, list, tuple)):
        entries = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        yield path, f"{len(tree)} entries"
        for key, value in entries:
            yield from _sizes(value, f"{path}.{key}")


def _of_tensors(wanted: Tensor, found: Tensor, where: str) -> str | None:
    forms = [f"{str(each.dtype).removeprefix('torch.')} {list(each.shape)}" for each in (wanted, found)]
    if forms[0] != forms[1]:
        return f"{where}: expected {forms[0]}, found {forms[1]}"
    left, right = (each.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for each in (wanted, found))
    if torch.equal(left, right):
        return None
    first = int((left != right).nonzero()[0, 0]) // wanted.element_size()
    return f"{where}: expected {wanted.reshape(-1)[first].item()!r}, found {found.reshape(-1)[first].item()!r}"


def _first(found: Any) -> str | None:
    return next((each for each in found if each is not None), None)
