"""Tell how two states differ, bit by bit."""

from collections.abc import Mapping
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
