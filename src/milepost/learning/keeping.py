"""Keep some of the examples that went by, and draw from them.

Promise: a buffer is a function of its seed and of what was added, drawn and replaced, in this order: a saved one goes
on exactly, empty, half full or full, with the number of examples it has seen and every random stream. What is kept does
not depend on how often or how many are drawn, nor on the sizes of the batches that were added.
Needs: `milepost.learning.stores` for the examples, `milepost.learning.draws` for chance.
Failure: ValueError for examples that are not like those before or lack labels; StateMismatchError for the state of a
buffer of another kind or capacity.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from milepost.errors import StateMismatchError
from milepost.learning.data import Examples
from milepost.learning.draws import Draws
from milepost.learning.stores import Store


class Buffer(ABC):
    """Hold up to `capacity` examples, in slots from 0; `Stateful`.

    `seen` counts the examples that were offered. `device` is where the examples are kept (see `Store`).
    """

    kind: ClassVar[str]

    def __init__(self, capacity: int, seed: int, device: torch.device | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"could not make a buffer: expected room for 1 example or more, found {capacity}.")
        self.capacity = capacity
        self.seen = 0
        self.chance = Draws(seed, f"what a {self.kind} buffer keeps")
        self._replay = Draws(seed, f"what a {self.kind} buffer replays")
        self._store = Store(capacity, device)

    def __len__(self) -> int:
        return len(self._store)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the examples' fields; none before the first example."""
        return self._store.fields

    def add(self, examples: Examples, labels: Tensor | None = None) -> Tensor:
        """Offer n examples; return the slot of each: [n], -1 where it is not kept when all of them were offered.

        `labels` [n] are what the kind of buffer divides by, classes or tasks; some kinds need none.
        """
        return self.offer(_count(examples), lambda rows: chosen_rows(examples, rows), labels)

    def offer(self, count: int, examples: Callable[[Tensor], Examples], labels: Tensor | None = None) -> Tensor:
        """Offer `count` examples as `add` does; those that are kept, and no others, are asked for by their rows [m]."""
        slots = _without_replaced(self._places(count, labels))
        self.seen += count
        kept = np.flatnonzero(slots >= 0)
        found = torch.from_numpy(slots)
        if len(kept):
            rows = torch.from_numpy(kept)
            self._store.put(found[rows], examples(rows))
        return found

    def draw_slots(self, count: int) -> Tensor:
        """Choose `count` different slots, each set of so many as likely as any other; all where there are fewer."""
        return self._replay.choice(len(self), min(count, len(self)))

    def draw(self, count: int) -> dict[str, Tensor | list[Tensor]]:
        """Return `count` different examples, or all where there are fewer: a dict without fields before the first."""
        return self._store.get(self.draw_slots(count))

    def get(self, slots: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """Return the examples in slots [n], which may repeat."""
        return self._store.get(slots)

    def everything(self) -> dict[str, Tensor | list[Tensor]]:
        """Return all examples, in the order of their slots."""
        return self._store.get(torch.arange(len(self)))

    def update(self, slots: Tensor, fields: Examples) -> None:
        """Replace some fields of the examples in slots [n]."""
        self._store.update(slots, fields)

    def replace(self, examples: Examples, labels: Tensor | None = None) -> None:
        """Keep exactly these examples, in this order, in the place of all others; nothing is counted as seen.

        Raises ValueError where there are more than the capacity.
        """
        count = _count(examples)
        if count > self.capacity:
            raise ValueError(f"could not keep examples: expected at most {self.capacity}, found {count}. Choose fewer.")
        self._replaced(count, labels)
        self._store.clear()
        self._store.put(torch.arange(count), examples)

    def state_dict(self) -> dict[str, Any]:
        """Return the examples, how many were seen, and the random streams; it may share memory with the buffer."""
        return {
            "kind": self.kind,
            "capacity": self.capacity,
            "seen": self.seen,
            "chance": self.chance.state_dict(),
            "replay": self._replay.state_dict(),
            "content": self._store.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the saved buffer would, whatever was here."""
        expected, found = (self.kind, self.capacity), (state["kind"], state["capacity"])
        if expected != found:
            raise StateMismatchError(
                f"could not restore a buffer: expected a {expected[0]} buffer of {expected[1]} examples, found a "
                f"{found[0]} buffer of {found[1]}. Continue with the options that the run was started with."
            )
        self._store.load_state_dict(state["content"])
        self.chance.load_state_dict(state["chance"])
        self._replay.load_state_dict(state["replay"])
        self.seen = int(state["seen"])

    @abstractmethod
    def _places(self, count: int, labels: Tensor | None) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Decide the slots of `count` examples one after the other: -1 for none, the next free ones in order."""

    @abstractmethod
    def _replaced(self, count: int, labels: Tensor | None) -> None:
        """Take note that the content will be `count` other examples."""


class Reservoir(Buffer):
    """Keep a uniform sample of all examples seen (J. S. Vitter, ACM TOMS 11 (1985) 37, algorithm R)."""

    kind = "reservoir"

    def _places(self, count: int, labels: Tensor | None) -> np.ndarray[Any, np.dtype[np.int64]]:
        free = min(count, self.capacity - len(self))
        filling = np.arange(len(self), len(self) + free)
        if free == count:
            return filling
        # The t-th example is kept with probability capacity / t, in a slot that is as likely as any.
        drawn = self.chance.below(np.arange(self.seen + free + 1, self.seen + count + 1))
        drawn[drawn >= self.capacity] = -1
        return np.concatenate([filling, drawn]) if free else drawn

    def _replaced(self, count: int, labels: Tensor | None) -> None:
        """Note nothing: examples offered later fill what is free, and then compete with all that were seen."""


def _count(examples: Examples) -> int:
    lengths = {name: len(found) for name, found in examples.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"could not keep examples: expected as many in every field, found {lengths}.")
    return next(iter(lengths.values()), 0)


def chosen_rows(examples: Examples, rows: Tensor) -> dict[str, Tensor | list[Tensor]]:
    """Return the examples in rows [n]."""
    return {
        name: found.index_select(0, rows.to(found.device))
        if isinstance(found, Tensor)
        else [found[row] for row in rows.tolist()]
        for name, found in examples.items()
    }


def _without_replaced(slots: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Mark examples as not kept whose slot goes to a later one of the same batch."""
    taken: set[int] = set()
    for row, slot in reversed(list(enumerate(slots.tolist()))):
        if slot in taken:
            slots[row] = -1
        elif slot >= 0:
            taken.add(slot)
    return slots
