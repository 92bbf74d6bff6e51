"""What every container gives: a tree with leaves, and the names that its pickles mention."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from milepost.checkpoint.foreign.allowed import HARMLESS, MEANINGS, NAMES
from milepost.checkpoint.foreign.machine import Pickle
from milepost.checkpoint.foreign.plain import FREE_COST, REPEATS, TEXT_PER_COST, Plain, Resolve


@dataclass(frozen=True, slots=True)
class Content:
    """A file's content; `kind` is None where it is to be recognized from the tree.

    `facts` are what the container itself states beside the tree, `harmless` the names that belong to the container.
    """

    tree: Any
    kind: str | None = None
    globals: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    harmless: frozenset[str] = HARMLESS


def plain_tree(pickle: Pickle, storage: Resolve, free: int = FREE_COST) -> Any:
    """Convert the value of a pickle; `storage` says what its persistent ids refer to.

    Written out, it may be a fixed multiple of the pickle's opcodes and bytes, and `free` values more.
    """
    budget = free + REPEATS * (pickle.steps + pickle.size // TEXT_PER_COST)
    return Plain(budget, storage, MEANINGS, NAMES).tree(pickle.root)
