"""What a pickle says, as inert records: the output of `machine`, the input of `plain`.

Promise: these classes hold what they are given. None of them imports, calls, hashes or compares anything from the
file; dicts and sets are kept as pairs and items, since hashing chosen keys can take quadratic time.

The other nodes are Python's own: None, bool, int, float, str, bytes, list and tuple.
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

Node: TypeAlias = Any
"""None, bool, int, float, str, bytes, list, tuple, or a record of this module."""


@dataclass(frozen=True, slots=True)
class Global:
    """Name something that unpickling would import; here it is only a name."""

    module: str
    name: str

    @property
    def full(self) -> str:
        """`module.name`."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Pairs:
    """A dict: (key, value) in the order of the file; the last of two equal keys counts."""

    pairs: list[tuple[Node, Node]] = field(default_factory=list[tuple[Node, Node]])


@dataclass(eq=False, slots=True)
class Items:
    """A set or frozenset."""

    frozen: bool
    items: list[Node]


@dataclass(eq=False, slots=True)
class Reference:
    """A persistent id: something that lies outside the pickle."""

    key: Node


@dataclass(eq=False, slots=True)
class Instance:
    """What a call of `callable` would have given, and what would have been done to the result.

    `keywords` and `states` (one for each BUILD) are as in the file; `appended` and `pairs` are what was added to it
    as to a list and as to a dict.
    """

    callable: Node
    arguments: Node
    keywords: Node = None
    states: list[Node] = field(default_factory=list[Any])
    appended: list[Node] = field(default_factory=list[Any])
    pairs: list[tuple[Node, Node]] = field(default_factory=list[tuple[Node, Node]])


def tuple_of(node: Node) -> tuple[Node, ...]:
    """Return a tuple as it is, and an empty one for everything else."""
    return cast(tuple[Node, ...], node) if isinstance(node, tuple) else ()


def list_of(node: Node) -> list[Node]:
    """Return a list as it is, and an empty one for everything else."""
    return cast(list[Node], node) if isinstance(node, list) else []
