"""Keep one field of many examples: in one tensor where they are of one shape, in a list where they differ.

Promise: rows come back bit for bit. A column is told rows that `mismatch` found nothing wrong with.
Slots are positions in a column: [n] integers in host memory.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

Rows: TypeAlias = Tensor | list[Tensor]


class DenseColumn:
    """Hold rows of one shape in one tensor [capacity, ...], made when the first ones come."""

    def __init__(self, capacity: int, like: Tensor, device: torch.device | None) -> None:
        self.rows = torch.empty((capacity, *like.shape[1:]), dtype=like.dtype, device=device or like.device)

    def mismatch(self, found: Rows) -> str | None:
        """Say how rows differ from those here; rows in a list may be of another shape, for then they may differ."""
        if not isinstance(found, Tensor):
            return _first_difference(self.rows[0], found)
        if found.dtype == self.rows.dtype and found.shape[1:] == self.rows.shape[1:]:
            return None
        return f"expected {_whole(self.rows)}, found {_whole(found)}"

    def holds(self, found: Rows) -> bool:
        """Tell whether rows that fit have the shape of those here."""
        return isinstance(found, Tensor) or all(row.shape == self.rows.shape[1:] for row in found)

    def put(self, slots: Tensor, found: Rows) -> None:
        """Write rows [n, ...] to slots, no two of them the same."""
        rows = found if isinstance(found, Tensor) else torch.stack(found)
        device = self.rows.device
        self.rows.index_copy_(0, slots.to(device), rows.detach().to(device))

    def get(self, slots: Tensor) -> Tensor:
        """Return copies of rows: [n, ...]."""
        return self.rows.index_select(0, slots.to(self.rows.device))

    def ragged(self, length: int) -> "RaggedColumn":
        """Return the first rows as a column whose rows may differ in shape."""
        column = RaggedColumn(self.rows.device)
        column.rows = [row.clone() for row in self.rows[:length]]
        return column

    def state(self, length: int) -> dict[str, Tensor]:
        """Return the first rows, without a copy."""
        return {"rows": self.rows[:length]}


class RaggedColumn:
    """Hold rows that differ in shape, though not in type and in the number of dimensions."""

    def __init__(self, device: torch.device | None) -> None:
        self.rows: list[Tensor] = []
        self._device = device

    def mismatch(self, found: Rows) -> str | None:
        """Say how rows differ from those here and from each other."""
        return _first_difference(self.rows[0] if self.rows else found[0], found)

    def put(self, slots: Tensor, found: Rows) -> None:
        """Write rows to slots that are filled, or the next to be; no two of them the same."""
        for slot, row in sorted(zip(slots.tolist(), found, strict=True), key=lambda pair: pair[0]):
            # A copy: the row may be a view of a data set, which it would keep in memory.
            kept = row.detach().to(self._device or row.device, copy=True)
            if slot == len(self.rows):
                self.rows.append(kept)
            else:
                self.rows[slot] = kept

    def get(self, slots: Tensor) -> list[Tensor]:
        """Return the rows themselves, which must not be written to."""
        return [self.rows[slot] for slot in slots.tolist()]

    def state(self, length: int) -> dict[str, Tensor]:
        """Return the numbers of all rows in one tensor, and the shape of each: [length, dimensions]."""
        shapes = [list(row.shape) for row in self.rows]
        flat = torch.cat([row.reshape(-1) for row in self.rows])
        return {"flat": flat, "shapes": torch.tensor(shapes, dtype=torch.long)}


Column: TypeAlias = DenseColumn | RaggedColumn


def new_column(capacity: int, first: Rows, device: torch.device | None) -> Column:
    """Make an empty column for rows like the first ones."""
    return DenseColumn(capacity, first, device) if isinstance(first, Tensor) else RaggedColumn(device)


def loaded_column(capacity: int, saved: Mapping[str, Tensor], device: torch.device | None) -> Column:
    """Make a column that holds what another held when its state was saved."""
    if "rows" in saved:
        rows = saved["rows"]
        dense = DenseColumn(capacity, rows, device)
        dense.rows[: len(rows)] = rows
        return dense
    ragged = RaggedColumn(device)
    shapes: list[list[int]] = saved["shapes"].tolist()
    pieces = saved["flat"].split(saved["shapes"].prod(1).tolist())
    rows = [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]
    ragged.put(torch.arange(len(rows)), rows)
    return ragged


def saved_length(saved: Mapping[str, Any]) -> int | None:
    """Return how many rows a saved column has; None where it is no saved column."""
    if set(saved) == {"rows"}:
        return len(saved["rows"])
    if set(saved) != {"flat", "shapes"}:
        return None
    shapes: Tensor = saved["shapes"]
    return len(shapes) if int(shapes.prod(1).sum()) == len(saved["flat"]) else None


def _whole(rows: Tensor) -> str:
    return f"{rows.dtype} of shape {list(rows.shape[1:])}"


def _form(row: Tensor) -> str:
    return f"{row.dtype} of {row.dim()} dimensions"


def _first_difference(expected: Tensor, found: Rows) -> str | None:
    for row in found:
        if row.dtype != expected.dtype or row.dim() != expected.dim():
            return f"expected {_form(expected)}, found {_form(row)}"
    return None
