"""Turn the records of a pickle into a tree of plain values, with leaves for tensors.

Promise: the tree holds None, bool, int, float, str, dict, list, tuple and leaves, and nothing else. Objects on the
list in `allowed` become what they mean; every other one becomes {"class": its name, "state": what it holds}. A value
that contains itself becomes a text saying so. Depth is bounded, and so is the size, since shared values are written
out each time.
Failure: ForeignFileError naming the place in the tree.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, cast

from milepost.checkpoint.foreign.leaves import LEAVES, Leaf, Storage
from milepost.checkpoint.foreign.nodes import Global, Instance, Items, Node, Pairs, Reference, tuple_of
from milepost.errors import ForeignFileError

MAX_DEPTH = 64
FREE_COST = 200_000
REPEATS = 4  # how often an honest file refers to a value, on average and at most
TEXT_PER_COST = 64
_MAX_KEY_BITS = 63  # beside the sign: an archive takes no longer ones
_SIMPLE = frozenset({type(None), bool, int, float})
# What protocols 0 to 2 call with the class as first argument.
_MAKERS = ("copyreg._reconstructor", "copyreg.__newobj__")

Place: TypeAlias = tuple[str | int, ...]
Resolve: TypeAlias = Callable[[Node], "Storage | Node"]
Meaning: TypeAlias = "Callable[[Plain, Instance, Place], Any]"


class Plain:
    """One conversion, which may write out about `budget` values.

    `storage` says what a persistent id refers to, `meanings` what known objects are, `names` what known names are.
    """

    def __init__(self, budget: int, storage: Resolve, meanings: dict[str, Meaning], names: dict[str, Any]) -> None:
        self.storage = storage
        self._meanings = meanings
        self._names = names
        self._budget = budget
        self._within: dict[int, int] = {}
        self._leaves: dict[int, Leaf] = {}

    def tree(self, node: Node, place: Place = ()) -> Any:
        """Convert one record and everything in it."""
        self.spend(1)
        if type(node) in _SIMPLE:
            return node
        if isinstance(node, str):
            self.spend(len(node) // TEXT_PER_COST)
            return node
        if isinstance(node, bytes):
            self.spend(2 * len(node) // TEXT_PER_COST)
            return {"class": "builtins.bytes", "state": node.hex()}
        if isinstance(node, Global):
            return self._names.get(node.full, {"class": node.full, "state": None})
        if id(node) in self._leaves:
            return self._leaves[id(node)]
        if id(node) in self._within:
            levels = len(self._within) - self._within[id(node)]
            return f"<the value {levels} levels up, which contains this one>"
        if len(self._within) >= MAX_DEPTH:
            raise self.failure(place, f"expected at most {MAX_DEPTH} levels of nesting, found more")
        self._within[id(node)] = len(self._within)
        try:
            value = self._container(node, place)
        finally:
            del self._within[id(node)]
        if isinstance(value, LEAVES):
            self._leaves[id(node)] = value
        return value

    def items(self, values: Iterable[Node], place: Place) -> list[Any]:
        """Convert the items of a sequence."""
        found: list[Any] = []
        for index, value in enumerate(values):
            if type(value) in _SIMPLE:  # the place is needed for the others only
                self.spend(1)
                found.append(value)
            else:
                found.append(self.tree(value, (*place, index)))
        return found

    def mapping(self, pairs: Iterable[tuple[Node, Node]], place: Place) -> dict[str | int, Any]:
        """Convert a dict; keys that are neither texts nor integers become texts, and stay apart."""
        result: dict[str | int, Any] = {}
        twice: dict[str, int] = {}
        for node, value in pairs:
            key, made = self._key(node, place)
            if made and key in result:
                count = twice[str(key)] = twice.get(str(key), 1) + 1
                key = f"{key}~{count}"
            result[key] = self.tree(value, (*place, key))
        return result

    def described(self, instance: Instance, place: Place) -> dict[str, Any]:
        """Describe an object of a class that is not known."""
        parts: dict[str, Any] = {}
        if instance.arguments not in ((), None):
            parts["arguments"] = self.tree(instance.arguments, (*place, "arguments"))
        if instance.keywords is not None:
            parts["keywords"] = self.tree(instance.keywords, (*place, "keywords"))
        for index, state in enumerate(instance.states):
            parts["attributes" if not index else f"attributes~{index + 1}"] = self.tree(state, place)
        if instance.appended:
            parts["items"] = self.items(instance.appended, (*place, "items"))
        if instance.pairs:
            parts["entries"] = self.mapping(instance.pairs, (*place, "entries"))
        state = parts["attributes"] if set(parts) == {"attributes"} else parts or None
        return {"class": name_of(instance), "state": state}

    def spend(self, cost: int) -> None:
        """Count what is written out; raises ForeignFileError where it is out of all proportion to the file."""
        self._budget -= cost
        if self._budget < 0:
            raise ForeignFileError("written out, the shared values of the file are many times its size")

    def failure(self, place: Place, reason: str) -> ForeignFileError:
        """Return the error for a value at `place` that is not what its class takes."""
        return ForeignFileError(f"at '{dotted(place)}': {reason}")

    def _container(self, node: Node, place: Place) -> Any:
        if isinstance(node, list):
            return self.items(cast(list[Node], node), place)
        if isinstance(node, tuple):
            return tuple(self.items(cast(tuple[Node, ...], node), place))
        if isinstance(node, Pairs):
            return self.mapping(node.pairs, place)
        if isinstance(node, Items):
            kind = "builtins.frozenset" if node.frozen else "builtins.set"
            return {"class": kind, "state": self.items(node.items, place)}
        if isinstance(node, Reference):
            found = self.storage(node.key)
            return found.viewed() if isinstance(found, Storage) else self.tree(found, place)
        return self._object(node, place)

    def _object(self, node: Instance, place: Place) -> Any:
        meaning = self._meanings.get(node.callable.full) if isinstance(node.callable, Global) else None
        if meaning is None:
            return self.described(node, place)
        try:
            return meaning(self, node, place)
        except ForeignFileError as error:
            text = str(error)
            raise error if text.startswith("at '") else self.failure(place, text) from None

    def _key(self, node: Node, place: Place, depth: int = 0) -> tuple[str | int, bool]:
        """Return the key, and whether it was made up here."""
        self.spend(1 + (len(node) // TEXT_PER_COST if isinstance(node, str | bytes) else 0))
        if isinstance(node, str):
            return node, False
        if isinstance(node, int) and not isinstance(node, bool) and node.bit_length() <= _MAX_KEY_BITS:
            return node, False
        if isinstance(node, tuple):
            if depth >= MAX_DEPTH:
                raise self.failure(place, f"expected at most {MAX_DEPTH} levels of nesting, found more")
            parts = [str(self._key(part, place, depth + 1)[0]) for part in cast(tuple[Node, ...], node)]
            return f"({', '.join(parts)})", True
        if isinstance(node, Global):
            return node.full, True
        if isinstance(node, Instance):
            return name_of(node), True
        return (repr(node) if isinstance(node, bool | int | float | bytes | None) else type(node).__name__), True


def name_of(instance: Instance) -> str:
    """Return the name of what an object was made with."""
    made = instance.callable
    if isinstance(made, Global):
        given = tuple_of(instance.arguments)
        if made.full in _MAKERS and given and isinstance(given[0], Global):
            return given[0].full
        return made.full
    if isinstance(made, Instance) and isinstance(made.callable, Global):
        return f"the result of {made.callable.full}"
    return "an object without a class"


def bytes_of(node: Node) -> bytes | None:
    """Return the bytes that a record stands for, None where it stands for none.

    Protocol 2 has no bytes: it writes `_codecs.encode(text, "latin1")`.
    """
    if isinstance(node, bytes):
        return node
    if not isinstance(node, Instance) or not isinstance(node.callable, Global):
        return None
    parts = tuple_of(node.arguments)
    if node.callable.full in ("builtins.bytes", "builtins.bytearray"):
        inner = parts[0] if parts else b""
        if isinstance(inner, str):
            return inner.encode("latin-1", "replace")
        return inner if isinstance(inner, bytes) else _latin(inner)
    return _latin(node)


def _latin(node: Node) -> bytes | None:
    if not isinstance(node, Instance) or node.callable != Global("_codecs", "encode"):
        return None
    parts = tuple_of(node.arguments)
    if not parts or not isinstance(parts[0], str):
        return None
    try:
        return parts[0].encode("latin-1")
    except UnicodeEncodeError:
        return None


def dotted(place: Place) -> str:
    """Join a place for messages, which show no control character of the file."""
    parts = [str(part)[:80] for part in place]
    return ".".join(part if part.isprintable() else repr(part)[1:-1] for part in parts) or "the whole"
