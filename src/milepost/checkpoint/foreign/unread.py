"""Name what a file holds that does not become a tensor of its own: special tensors, and values that hold no tensor.

Promise: every value of the tree is within a leaf, within one of the places that are named here, or among those that the
caller says are taken; None and what is empty are passed over. Nothing is read from the file.
Failure: none.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

from milepost.checkpoint.foreign.leaves import LEAVES

_META = "torch._utils._rebuild_meta_tensor_no_storage"
_REBUILT = ("torch._utils._rebuild_", "torch._tensor._rebuild_")
_SPECIAL = {
    "torch._utils._rebuild_qtensor": ("a quantized tensor", "dequantize it before it is saved"),
    "torch._utils._rebuild_sparse_tensor": ("a sparse tensor", "make it dense before it is saved"),
    "torch._utils._rebuild_nested_tensor": ("a nested tensor", "pad it before it is saved"),
    _META: ("a tensor on the meta device, which holds no numbers", "load the weights before it is saved"),
}
_OTHER = ("a tensor in a form that is not read", "save it as a plain tensor, with torch.save")
_ARRAY = ("an array of numpy in a type or byte order that is not read", "save it as a tensor")
_VALUES = {
    "builtins.set": "a set",
    "builtins.frozenset": "a set",
    "builtins.bytes": "bytes",
    "builtins.bytearray": "bytes",
    "builtins.complex": "a complex number",
}


@dataclass(frozen=True, slots=True)
class Unread:
    """Describe what is at a place; `special` tells a tensor that is stored in parts, which say nothing by themselves.

    `advice` is empty for what was never a tensor or an array.
    """

    place: str
    what: str
    advice: str = ""
    special: bool = False

    def __str__(self) -> str:
        return f"'{self.place}', {self.what}" + (f": {self.advice}" if self.advice else "")


def unread(tree: Any, taken: Collection[str] = ()) -> list[Unread]:
    """List it in the order of the tree, places without any tensor as a whole; `taken` are places of other use."""
    return _walked(tree, "", taken)[1]


def _walked(value: Any, place: str, taken: Collection[str]) -> tuple[bool, list[Unread]]:
    """Return whether there is something here that is read or special, and what is not read."""
    if isinstance(value, LEAVES) or (place and place in taken):
        return True, []
    name = _class_of(value)
    special = _special(name, place) if name else None
    if special is not None:
        return True, [special]
    if value is None or (isinstance(value, dict | list | tuple) and not value):
        return False, []
    if not isinstance(value, dict | list | tuple):
        return False, [Unread(place, _kind(value))]
    if name in _VALUES:
        return False, [Unread(place, _VALUES[name])]
    some, found = False, list[Unread]()
    for key, item in _items(cast(Any, value)):
        if name and key == "class":
            continue
        inside, below = _walked(item, f"{place}.{key}" if place else key, taken)
        some, found = some or inside, found + below
    if some or not place or not (found or name):
        return some, found
    return False, [Unread(place, f"an object of {name}" if name else _kind(value))]


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    pairs: Any = cast(dict[Any, Any], value).items() if isinstance(value, dict) else enumerate(value)
    for key, item in pairs:
        yield str(key), item


def _class_of(value: Any) -> str:
    """Return the name of the class of a described object, nothing for other values."""
    fields = cast(dict[Any, Any], value) if isinstance(value, dict) else {}
    name = fields.get("class")
    return name if isinstance(name, str) and fields.keys() == {"class", "state"} else ""


def _special(name: str, place: str) -> Unread | None:
    if name.startswith(_REBUILT):
        what, advice = _SPECIAL.get(name, _OTHER)
        return Unread(place, what, advice, special=name != _META)
    if name.startswith("numpy.") and name.endswith(("._reconstruct", "._frombuffer", ".scalar")):
        return Unread(place, *_ARRAY)
    return None


def _kind(value: Any) -> str:
    names: dict[Any, str] = {dict: "a dict", list: "a list", tuple: "a tuple", str: "a text", bool: "a truth value"}
    return names.get(cast(Any, type(value)), "a number")
