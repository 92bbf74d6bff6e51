"""Keep examples in slots, field by field, each once and in its native type.

Promise: what `get` returns is what was put into these slots last, bit for bit, also after the state was saved and
loaded: a store goes on from there as if nothing had happened, whether it was empty, half full or full. The state holds
the filled slots only.
Needs: slots that are filled in order, without gaps. Failure: ValueError listing every field that is not as those
before, StateMismatchError for a state that does not fit; nothing has changed then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from milepost.errors import StateMismatchError
from milepost.learning.columns import Column, DenseColumn, Rows, loaded_column, new_column, saved_length
from milepost.learning.data import Examples


class Store:
    """Hold up to `capacity` examples in numbered slots; `Stateful`.

    `device` is where they lie: by default where the first ones did, and in host memory after a load.
    """

    def __init__(self, capacity: int, device: torch.device | None = None) -> None:
        self.capacity, self.device = capacity, device
        self._columns: dict[str, Column] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in the order of the first examples."""
        return tuple(self._columns)

    def put(self, slots: Tensor, examples: Examples) -> None:
        """Put examples into slots [n]: filled ones, or the next that are free; of several for one, the last wins.

        Raises ValueError listing each field that is not as those of the examples before.
        """
        numbers: list[int] = slots.tolist()
        if not numbers:
            return
        length = self._length_with(numbers)
        columns = self._columns or {name: self._new(found) for name, found in examples.items()}
        _check(examples, columns, len(numbers), whole=True)
        self._columns = columns
        self._write(slots, numbers, examples)
        self._length = length

    def update(self, slots: Tensor, examples: Examples) -> None:
        """Replace some fields of the examples in filled slots [n]; raises ValueError as `put` does."""
        numbers: list[int] = slots.tolist()
        if not numbers:
            return
        self._check_filled(numbers)
        _check(examples, self._columns, len(numbers), whole=False)
        self._write(slots, numbers, examples)

    def get(self, slots: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """Return the examples in filled slots [n], which may repeat; tensors in a list must not be written to."""
        self._check_filled(slots.tolist())
        return {name: column.get(slots) for name, column in self._columns.items()}

    def clear(self) -> None:
        """Forget every example, and what fields they had."""
        self._columns, self._length = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the filled slots, field by field; it may share memory with the store."""
        fields = {name: column.state(self._length) for name, column in self._columns.items()}
        return {"length": self._length, "fields": fields}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Hold what the saved store held, whatever was here; raises StateMismatchError where it does not fit."""
        length, fields = int(state["length"]), state["fields"]
        problems = [
            f"{name}: expected {length} examples, found {found}"
            for name, saved in fields.items()
            if (found := saved_length(saved)) != length
        ]
        if length > self.capacity:
            problems.insert(0, f"expected at most {self.capacity} examples, found {length}")
        if problems:
            raise StateMismatchError(
                "could not restore the kept examples:\n  " + "\n  ".join(problems)
                + "\nContinue with the options that the run was started with."
            )  # fmt: skip
        self._columns = {name: loaded_column(self.capacity, saved, self.device) for name, saved in fields.items()}
        self._length = length

    def _new(self, found: Rows) -> Column:
        return new_column(self.capacity, found, self.device)

    def _write(self, slots: Tensor, numbers: list[int], examples: Examples) -> None:
        last = {slot: row for row, slot in enumerate(numbers)}
        if len(last) < len(numbers):
            slots = torch.tensor(list(last))
            examples = {name: _chosen(found, list(last.values())) for name, found in examples.items()}
        for name, found in examples.items():
            column = self._columns[name]
            if isinstance(column, DenseColumn) and not column.holds(found):
                column = self._columns[name] = column.ragged(self._length)
            column.put(slots, found)

    def _check_filled(self, numbers: Sequence[int]) -> None:
        if numbers and not (min(numbers) >= 0 and max(numbers) < self._length):
            raise ValueError(
                f"could not find kept examples: expected slots from 0 to {self._length - 1}, found "
                f"{min(numbers)} to {max(numbers)}. Ask for slots that were filled."
            )

    def _length_with(self, numbers: Sequence[int]) -> int:
        """Return how many slots are filled once these are; raises ValueError where that leaves a gap."""
        length = max(self._length, max(numbers, default=-1) + 1)
        added = {slot for slot in numbers if slot >= self._length}
        if length > self.capacity or len(added) < length - self._length or min(numbers, default=0) < 0:
            raise ValueError(
                f"could not keep examples: expected slots of {self.capacity} that are filled, as {self._length} are, "
                f"or the next to be, found {list(numbers)}. Fill slots in order."
            )
        return length


def _check(examples: Examples, columns: Mapping[str, Column], count: int, *, whole: bool) -> None:
    """Compare examples with the fields that there are, of which they must have all if they are `whole`."""
    problems: list[str] = []
    if not set(examples) <= set(columns) or (whole and len(examples) < len(columns)):
        problems.append(
            f"expected {'the' if whole else 'some of the'} fields {sorted(columns)}, found {sorted(examples)}"
        )
    for name, found in examples.items():
        if len(found) != count:
            problems.append(f"{name}: expected {count} examples, found {len(found)}")
        elif name in columns and (text := columns[name].mismatch(found)):
            problems.append(f"{name}: {text}")
    if problems:
        raise ValueError(
            "could not keep examples:\n  " + "\n  ".join(problems)
            + "\nGive examples the fields that those before have."
        )  # fmt: skip


def _chosen(found: Rows, rows: list[int]) -> Rows:
    return found[rows] if isinstance(found, Tensor) else [found[row] for row in rows]
