"""Buffers that give every label its share: by class, or by task.

Promise and failures: as in `milepost.learning.keeping`; besides, ValueError where labels are missing. Labels are whole
numbers, and are remembered here: they need not be a field of the examples.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from milepost.learning.keeping import Buffer


class LabeledBuffer(Buffer):
    """Know which slots hold the examples of which label."""

    def __init__(self, capacity: int, seed: int, device: torch.device | None = None) -> None:
        super().__init__(capacity, seed, device)
        self.members: dict[int, list[int]] = {}
        self.filled = 0

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels of the examples that are kept, in the order in which they first came."""
        return tuple(label for label, slots in self.members.items() if slots)

    def slots_of(self, label: int) -> Tensor:
        """Return the slots of a label's examples: [n], in the order in which they came."""
        return torch.tensor(self.members.get(label, []), dtype=torch.long)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of a buffer, and the slots of every label."""
        members = {label: torch.tensor(slots, dtype=torch.long) for label, slots in self.members.items()}
        return super().state_dict() | {"members": members}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the saved buffer would, whatever was here."""
        super().load_state_dict(state)
        self.members = {int(label): slots.tolist() for label, slots in state["members"].items()}
        self.filled = len(self)

    def _places(self, count: int, labels: Tensor | None) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([self._place(label) for label in _known(count, labels)], dtype=np.int64)

    @abstractmethod
    def _place(self, label: int) -> int:
        """Decide the slot of one example, and note it in `members`."""

    def _replaced(self, count: int, labels: Tensor | None) -> None:
        members: dict[int, list[int]] = {}
        for slot, label in enumerate(_known(count, labels)):
            members.setdefault(label, []).append(slot)
        self.members, self.filled = members, count

    def _next_free(self) -> int:
        self.filled += 1
        return self.filled - 1

    def _largest(self) -> list[int]:
        """List the labels with the most examples."""
        most = max(map(len, self.members.values()))
        return [label for label, slots in self.members.items() if len(slots) == most]

    def _one_of_the_largest(self) -> int:
        """Give up a random example of the labels with the most; return its slot."""
        largest = self._largest()
        drawn = int(self.chance.below([len(largest) * len(self.members[largest[0]])])[0])
        place, which = divmod(drawn, len(largest))
        return self.members[largest[which]].pop(place)


class Ring(LabeledBuffer):
    """Keep the newest examples of every label, the same number of each (first in, first out).

    With `parts`, a label has capacity // parts slots, however many labels have come so far (A. Chaudhry et al., On tiny
    episodic memories in continual learning, arXiv:1902.10486, ring buffer; D. Lopez-Paz, M. Ranzato, NeurIPS 2017: a
    task is a part). Without, the labels so far share all slots: the one with the most gives up its oldest example.
    """

    kind = "ring"

    def __init__(
        self, capacity: int, seed: int, device: torch.device | None = None, *, parts: int | None = None
    ) -> None:
        super().__init__(capacity, seed, device)
        if parts is not None and not 1 <= parts <= capacity:
            raise ValueError(f"could not divide a buffer of {capacity}: expected 1 to {capacity} parts, found {parts}.")
        self.parts = parts

    def _place(self, label: int) -> int:
        if self.parts is not None and label not in self.members and len(self.members) == self.parts:
            raise ValueError(
                f"could not keep an example of label {label}: expected one of {list(self.members)}, as many labels as "
                "the buffer has parts. Divide it into as many parts as there are labels."
            )
        slots = self.members.setdefault(label, [])
        if self.parts is not None:
            slot = slots.pop(0) if len(slots) == self.capacity // self.parts else self._next_free()
        elif self.filled < self.capacity:
            slot = self._next_free()
        else:
            most = max(self.members.values(), key=len)
            slot = (slots if len(slots) == len(most) else most).pop(0)
        slots.append(slot)
        return slot


class Balanced(LabeledBuffer):
    """Keep as many examples of each label as of any other as far as they come, and of each label a uniform sample.

    A. Chrysakis, M.-F. Moens, Online continual learning from imbalanced data, ICML 2020, algorithm 1 (class-balancing
    reservoir sampling).
    """

    kind = "balanced"

    def __init__(self, capacity: int, seed: int, device: torch.device | None = None) -> None:
        super().__init__(capacity, seed, device)
        self._came: dict[int, int] = {}
        self._full: set[int] = set()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of a labeled buffer, how many examples of each label came, and which were ever the most."""
        return super().state_dict() | {"came": dict(self._came), "full": sorted(self._full)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the saved buffer would, whatever was here."""
        super().load_state_dict(state)
        self._came, self._full = {int(label): n for label, n in state["came"].items()}, set(state["full"])

    def _place(self, label: int) -> int:
        slots = self.members.setdefault(label, [])
        self._came[label] = self._came.get(label, 0) + 1
        if self.filled < self.capacity:
            slot = self._next_free()
        else:
            self._full.update(self._largest())
            if label in self._full:
                return self._replacing_its_own(label)
            slot = self._one_of_the_largest()
        slots.append(slot)
        return slot

    def _replacing_its_own(self, label: int) -> int:
        """Treat the label's slots as a reservoir of their own."""
        slots = self.members[label]
        drawn = int(self.chance.below([self._came[label]])[0])
        if drawn >= len(slots):
            return -1
        slots.append(slots.pop(drawn))
        return slots[-1]

    def _replaced(self, count: int, labels: Tensor | None) -> None:
        super()._replaced(count, labels)
        self._came = {label: max(len(slots), self._came.get(label, 0)) for label, slots in self.members.items()}
        self._full = set()


class Greedy(LabeledBuffer):
    """Keep an example if its label has less than its share, in the place of one of the labels with the most.

    A. Prabhu, P. Torr, P. Dokania, GDumb, ECCV 2020, algorithm 1 (greedy balancing sampler).
    """

    kind = "greedy"

    def _place(self, label: int) -> int:
        seen = len(self.members)
        slots = self.members.get(label)
        if slots is not None and len(slots) >= self.capacity / seen:
            return -1
        slot = self._next_free() if self.filled < self.capacity else self._one_of_the_largest()
        self.members.setdefault(label, []).append(slot)
        return slot


def _known(count: int, labels: Tensor | None) -> list[int]:
    if labels is None or len(labels) != count:
        found = "none" if labels is None else len(labels)
        raise ValueError(
            f"could not keep examples: expected a label for each of {count}, found {found}. Give the buffer labels, "
            "or use a reservoir."
        )
    numbers: list[int] = labels.tolist()
    return numbers
