"""Give structures to the loop and to learners: batches of fixed shapes, and examples that outlive their data set.

An example is a structure as it is trained on: species, neighbor table and targets, reference energies subtracted. Empty
slots of the table that the structure does not need are left out, and integers take four bytes. Promise: a batch of
examples is the batch of the same structures, up to padding.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from milepost.atoms.dataset import Structures
from milepost.atoms.neighbors import EMPTY_LENGTH
from milepost.learning import Examples
from milepost.learning.data import RECALLED

KEPT_SHAPES = 2
"""Most different shapes of batches of so many kept structures: a step is compiled for each pair of what it sees."""

TABLE = ("vectors", "neighbors", "reverse")
PER_ATOM = ("species", "forces", "force_weights")
PER_STRUCTURE = ("energies", "energy_weights", "virials", "stress_weights")
INDICES = ("neighbors", "reverse", "species")


class StructureSet:
    """Give batches of structures of fixed shapes to the loop, and the structures themselves to learners."""

    def __init__(self, structures: Structures, batch_size: int) -> None:
        self.structures = structures
        self.shapes = structures.shapes(batch_size) if len(structures) else []
        self._kept_shapes: dict[int, list[tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.structures)

    def batch(self, indices: Tensor, epoch: int = 0) -> dict[str, Tensor]:
        """Cut out a batch, filled up to one of the set's shapes; nothing in it varies from epoch to epoch."""
        return self.structures.batch(indices, self.structures.shape_for(indices, self.shapes))

    def describe(self, indices: Tensor) -> str:
        """Name files and frames."""
        return "; ".join(self.structures.frames[int(i)].where for i in indices)

    def examples(self, indices: Tensor) -> Examples:
        """Return structures one by one: lists of [atoms, ...] and [atoms, slots, ...], tensors [n, ...] of the rest."""
        data = self.structures
        indices = indices.to(data.count.device)
        found: dict[str, Tensor | list[Tensor]] = {name: getattr(data, name)[indices] for name in PER_STRUCTURE}
        starts, counts = data.start[indices].tolist(), data.count[indices].tolist()
        atoms = [slice(start, start + count) for start, count in zip(starts, counts, strict=True)]
        for name in PER_ATOM:
            found[name] = [_stored(name, getattr(data, name)[rows]) for rows in atoms]
        for name in TABLE:
            found[name] = [_stored(name, getattr(data, name)[rows, : self._width(rows)]) for rows in atoms]
        return found

    def collate(self, examples: Examples, draw: int | None = 0) -> dict[str, Tensor]:
        """Make a batch of structures that were kept, filled up to one of a few shapes for so many of this data set.

        Where none of these holds them, the batch has no padding.
        """
        device = self.structures.count.device
        examples = {name: _placed(value, device) for name, value in examples.items()}
        sizes = [len(species) for species in _listed(examples, "species")]
        widest = max(table.shape[1] for table in _listed(examples, "neighbors"))
        if widest > self.structures.slots:
            raise ValueError(
                f"could not make a batch of kept structures: expected at most {self.structures.slots} neighbors of an "
                f"atom, as in the data set, found {widest}. Keep structures of this data set alone."
            )
        count = torch.tensor(sizes, device=device)
        first = torch.cumsum(count, 0) - count
        batch = {name: cast(Tensor, examples[name]) for name in PER_STRUCTURE}
        batch |= {name: torch.cat([_loaded(name, part) for part in _listed(examples, name)]) for name in PER_ATOM}
        batch["structure"] = torch.repeat_interleave(torch.arange(len(sizes), device=device), count)
        batch |= self._tables(examples, first.tolist())
        batch["sizes"] = count.to(batch["energies"].dtype)
        shape = self._shape(len(sizes), sum(sizes))
        return self.structures.filled(batch, shape) | dict(_recalled(examples, shape))

    def _width(self, rows: slice) -> int:
        return int(self.structures.degree[rows].max())

    def _tables(self, examples: Examples, first: list[int]) -> dict[str, Tensor]:
        """Widen the tables to the data set's slots and put them one after another."""
        slots = self.structures.slots
        found: dict[str, Tensor] = {}
        for name in TABLE:
            parts = [_loaded(name, part) for part in _listed(examples, name)]
            whole = parts[0].new_zeros((sum(map(len, parts)), slots, *parts[0].shape[2:]))
            if name == "vectors":
                whole[..., 0] = EMPTY_LENGTH * self.structures.cutoff
            elif name == "reverse":
                whole[:] = torch.arange(slots, device=whole.device)
            else:
                whole[:] = torch.arange(len(whole), device=whole.device).unsqueeze(1)
            for start, part in zip(first, parts, strict=True):
                shift = start if name == "neighbors" else 0
                whole[start : start + len(part), : part.shape[1]] = part + shift
            found[name] = whole
        return found

    def _shape(self, structures: int, atoms: int) -> tuple[int, int]:
        """Choose the smallest shape for so many structures that holds these atoms."""
        if structures not in self._kept_shapes:
            self._kept_shapes[structures] = self.structures.shapes(structures, KEPT_SHAPES) if len(self) else []
        fitting = [s for s in self._kept_shapes[structures] if s[0] == structures and s[1] >= atoms]
        return fitting[0] if fitting else (structures, max(2, atoms))


def _stored(name: str, value: Tensor) -> Tensor:
    return value.to(torch.int32) if name in INDICES else value.clone()


def _loaded(name: str, value: Tensor) -> Tensor:
    return value.to(torch.int64) if name in INDICES else value


def _placed(value: Tensor | list[Tensor], device: torch.device) -> Tensor | list[Tensor]:
    """Put a field where the data set lies: a buffer that was saved comes back in host memory."""
    return value.to(device) if isinstance(value, Tensor) else [part.to(device) for part in value]


def _listed(examples: Examples, name: str) -> list[Tensor]:
    """Give a field structure by structure, however it is kept."""
    return list(examples[name])


def _recalled(examples: Examples, shape: tuple[int, int]) -> Iterator[tuple[str, Tensor]]:
    """Lay out what a model said of the structures as its outputs for the batch are; padding has zeros."""
    structures, atoms = shape
    for name in examples:
        if name.startswith(RECALLED):
            per_atom = name.removeprefix(RECALLED) in PER_ATOM
            parts = _listed(examples, name)
            rows, length = (torch.cat(parts), atoms) if per_atom else (torch.stack(parts), structures)
            yield name, torch.cat([rows, rows.new_zeros((length - len(rows), *rows.shape[1:]))])
