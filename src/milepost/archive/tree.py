"""Trees of values to JSON and back: the structure part of a component.

Promise: dict (str or int keys, order kept), list, tuple, str, int, float (NaN and infinities too), bool, None
and tensors come back as they were; tensors that were one view of one memory come back as one tensor.
Failure: UnsavableError names the place and the type; `decode` raises ValueError for a notation it does not
know.

Notation (docs/formats/archive.md, "Trees"): JSON says what it can; the rest is an object whose one key begins
with `$`.
"""

import math
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from milepost.archive import jsontext
from milepost.errors import UnsavableError

if TYPE_CHECKING:
    import torch

Tree: TypeAlias = Any
"""A tensor, str, int, float, bool, None, or a dict (str or int keys), list or tuple of trees."""

# A dict in its pair form takes three levels of JSON, so a tree may be nested a third as deep as a document.
MAX_TREE_DEPTH = (jsontext.MAX_DEPTH - 8) // 3
_MAX_INT_BITS = 1024
# Python hashes an integer by its remainder by 2^61 - 1: longer ones can be chosen to share one hash, in any number.
_KEYS = range(-(2**63), 2**63)
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Encoder:
    """Turn one component's tree into JSON, and gather its tensors under names made of their paths."""

    def __init__(self, component: str) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.forms: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._component = component
        self._tied: dict[Any, dict[str, Any]] = {}

    def encode(self, tree: Tree, *path: str | int) -> Any:
        """Return the JSON value that stands for `tree`, which is at `path` of the component."""
        return self._encode(tree, path)

    def _encode(self, value: Any, path: tuple[str | int, ...]) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            if int(value).bit_length() > _MAX_INT_BITS:
                raise self._unsavable(path, f"expected an integer of at most {_MAX_INT_BITS} bits, found a longer one")
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if is_tensor(value):
            return self._tensor(value, path)
        return self._container(value, path)

    def _container(self, value: Any, path: tuple[str | int, ...]) -> Any:
        if len(path) >= MAX_TREE_DEPTH:
            raise self._unsavable(path, f"expected at most {MAX_TREE_DEPTH} levels of nesting, found more")
        if isinstance(value, Mapping):
            return self._mapping(cast(Mapping[Any, Any], value), path)
        if isinstance(value, list):
            return [self._encode(item, (*path, i)) for i, item in enumerate(cast(list[Any], value))]
        if type(value) is tuple:
            return {"$tuple": [self._encode(item, (*path, i)) for i, item in enumerate(cast(tuple[Any, ...], value))]}
        found = f"{type(value).__module__}.{type(value).__qualname__}"
        raise self._unsavable(
            path, f"expected a tensor, str, int, float, bool, None, dict, list or tuple, found {found}"
        )

    def _mapping(self, value: Mapping[Any, Any], path: tuple[str | int, ...]) -> Any:
        pairs: list[tuple[str | int, Any]] = []
        for key, item in value.items():
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise self._unsavable(path, f"expected keys of type str or int, found {key!r}")
            if isinstance(key, int) and int(key) not in _KEYS:
                raise self._unsavable(path, f"expected integer keys of at most 64 bits, found {hex(key)}")
            plain = self._text(key, path) if isinstance(key, str) else int(key)
            pairs.append((plain, self._encode(item, (*path, plain))))
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in pairs):
            return dict(pairs)
        return {"$dict": [list(pair) for pair in pairs]}

    def _text(self, value: str, path: tuple[str | int, ...]) -> str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise self._unsavable(path, f"expected valid Unicode, found {value!r}") from None
        return str(value)

    def _tensor(self, value: "torch.Tensor", path: tuple[str | int, ...]) -> Any:
        from milepost.archive import tensors

        try:
            dtype, shape, note = tensors.stored_form(value)
        except ValueError as error:
            raise self._unsavable(path, str(error)) from None
        key = tensors.identity(value)
        if key not in self._tied:
            name = self._free_name(".".join(map(str, path)) or self._component)
            self.tensors[name], self.forms[name] = value, (dtype, shape)
            self._tied[key] = {"$tensor": name} if note is None else {"$tensor": name, "as": note}
        return self._tied[key]

    def _free_name(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.tensors or name == "__metadata__":
            count += 1
            name = f"{wanted}~{count}"
        return name

    def _unsavable(self, path: tuple[str | int, ...], reason: str) -> UnsavableError:
        where = ".".join([self._component, *map(str, path)])
        return UnsavableError(f"could not save '{where}': {reason}. Convert it where the state is gathered.")


def decode(value: Any, tensor: Callable[[str, str | None], Any]) -> Tree:
    """Rebuild the tree that `value` stands for; `tensor(name, note)` supplies the tensors."""
    if isinstance(value, list):
        return [decode(item, tensor) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    fields = cast(dict[str, Any], value)
    special = next((key for key in fields if key.startswith("$")), None)
    if special is None:
        return {key: decode(item, tensor) for key, item in fields.items()}
    content = fields[special]
    extra = set(fields) - {special}
    if special == "$tensor" and extra <= {"as"} and isinstance(content, str):
        note = fields.get("as")
        if note is None or isinstance(note, str):
            return tensor(content, note)
    elif special == "$tuple" and not extra and isinstance(content, list):
        return tuple(decode(item, tensor) for item in cast(list[Any], content))
    elif special == "$float" and not extra and isinstance(content, str) and content in _FLOATS:
        return _FLOATS[content]
    elif special == "$dict" and not extra and isinstance(content, list):
        return _decode_pairs(cast(list[Any], content), tensor)
    raise ValueError(f"the notation {special!r} is not used as the format allows")


def _decode_pairs(pairs: list[Any], tensor: Callable[[str, str | None], Any]) -> dict[str | int, Any]:
    result: dict[str | int, Any] = {}
    for pair in pairs:
        items = cast(list[Any], pair) if isinstance(pair, list) else []
        if len(items) != 2 or type(items[0]) not in (str, int):
            raise ValueError("expected pairs of a key, str or int and used once, and a value in '$dict'")
        key = cast(str | int, items[0])
        if isinstance(key, int) and key not in _KEYS:  # before it is hashed
            raise ValueError(f"expected integer keys of at most 64 bits in '$dict', found {hex(key)[:40]}")
        if key in result:
            raise ValueError(f"the key {key!r} occurs twice in one '$dict'")
        result[key] = decode(items[1], tensor)
    return result


def is_tensor(value: object) -> bool:
    """Tell whether `value` is a torch tensor, without importing torch: if it is one, torch is there."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)
