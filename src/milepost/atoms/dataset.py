"""Keep a data set resident as tensors, and cut batches out of it by indexing alone.

Promise: `Structures.batch(indices)` is a pure function of the indices. A batch takes one of a few shapes,
filled up with empty structures and atoms that count nowhere, so that a compiled step is compiled a few times
and not once per batch. Where all structures are alike no padding is needed at all.

Needs: frames that `milepost.atoms.reading` has checked. Fails with DataError naming the frame.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from blake3 import blake3
from torch import Tensor

from milepost.atoms.neighbors import EMPTY_LENGTH, NeighborTable, find_neighbors
from milepost.atoms.potential import HIGHEST_ATOMIC_NUMBER
from milepost.atoms.reading import Frame, check_overlap, check_species

SHAPES = 4
"""Most different batch shapes of one data set: each costs one compilation and saves padding."""


class Structures:
    """Hold structures, neighbor tables and targets as tensors on one device.

    Shapes: atoms of all structures lie one after another; structure i has the atoms start[i] … start[i] +
    count[i] - 1. Units: eV, Å. Energies have the reference energies subtracted in double precision before
    they are rounded.
    """

    def __init__(self, frames: Sequence[Frame], cutoff: float, atomic_numbers: list[int]) -> None:
        table = np.full(HIGHEST_ATOMIC_NUMBER + 1, -1, dtype=np.int64)
        table[atomic_numbers] = np.arange(len(atomic_numbers))
        self.frames = list(frames)
        self.cutoff = cutoff
        neighbor_tables = [_neighbors(frame, cutoff, atomic_numbers) for frame in frames]
        self.count = torch.tensor([len(frame.numbers) for frame in frames], dtype=torch.long)
        self.start = torch.cumsum(self.count, 0) - self.count
        self.slots = max([2, *(t.neighbors.shape[1] for t in neighbor_tables)])
        self.species = torch.from_numpy(_concatenated([table[f.numbers] for f in frames], (0,), np.int64))
        self.neighbors, self.reverse, self.vectors = _stacked(neighbor_tables, self.slots, cutoff)
        self.degree = torch.from_numpy(_concatenated([t.degree for t in neighbor_tables], (0,), np.int64))
        self.energies, self.energy_weights = _targets([f.energy for f in frames], (len(frames),))
        self.forces, self.force_weights = _targets_per_atom(frames)
        self.virials, self.stress_weights = _virials(frames)
        self.volumes = torch.tensor([_volume(f) for f in frames], dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.frames)

    def fingerprint(self) -> str:
        """Digest what was learned from: every number of every frame, in order."""
        digest = blake3()
        for frame in self.frames:
            for part in (
                frame.numbers,
                frame.positions,
                frame.cell,
                frame.periodic,
                frame.forces,
                frame.stress,
            ):
                digest.update(b"-" if part is None else np.ascontiguousarray(part).tobytes())
            digest.update(repr(frame.energy).encode())
        return f"blake3:{digest.hexdigest()}"

    def composition(self, species: int) -> Tensor:
        """Count the atoms of each species: [structures, species], double precision."""
        owner = torch.repeat_interleave(torch.arange(len(self)), self.count)
        counts = torch.zeros((len(self), species), dtype=torch.float64)
        return counts.index_put_((owner, self.species), torch.ones(1, dtype=torch.float64), accumulate=True)

    def finish(self, references: Tensor, dtype: torch.dtype, device: torch.device) -> None:
        """Subtract the reference energies [species], round to the working precision, move to the device."""
        self.energies = self.energies - self.composition(len(references)) @ references.cpu()
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                moved = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
                setattr(self, name, moved)

    def batch(self, indices: Tensor, shape: tuple[int, int]) -> dict[str, Tensor]:
        """Cut a batch out of the data, filled up to `shape` (structures, atoms)."""
        indices = indices.to(self.count.device)
        count = self.count[indices]
        first = torch.cumsum(count, 0) - count
        used = int(count.sum())
        structure = torch.repeat_interleave(torch.arange(len(indices), device=count.device), count)
        rows = torch.arange(used, device=count.device) + (self.start[indices] - first)[structure]
        batch = {
            "vectors": self.vectors[rows],
            "neighbors": self.neighbors[rows] + first[structure].unsqueeze(1),
            "reverse": self.reverse[rows],
            "species": self.species[rows],
            "structure": structure,
            "forces": self.forces[rows],
            "force_weights": self.force_weights[rows],
            "sizes": count.to(self.energies.dtype),
            "energies": self.energies[indices],
            "energy_weights": self.energy_weights[indices],
            "virials": self.virials[indices],
            "stress_weights": self.stress_weights[indices],
        }
        return self.filled(batch, shape)

    def filled(self, batch: dict[str, Tensor], shape: tuple[int, int]) -> dict[str, Tensor]:
        """Fill a batch up to `shape` with atoms that see nobody and structures that weigh nothing."""
        structures, atoms = shape
        used, held = len(batch["species"]), len(batch["sizes"])
        if atoms > used:
            extra = atoms - used
            own = torch.arange(used, atoms, device=batch["species"].device).unsqueeze(1).expand(extra, self.slots)
            slot = torch.arange(self.slots, device=own.device).expand(extra, self.slots)
            vectors = batch["vectors"].new_zeros((extra, self.slots, 3))
            vectors[..., 0] = EMPTY_LENGTH * self.cutoff
            fill = {"vectors": vectors, "neighbors": own, "reverse": slot}
            fill["structure"] = torch.full((extra,), structures, device=own.device)
            for name in ("species", "forces", "force_weights"):
                fill[name] = batch[name].new_zeros((extra, *batch[name].shape[1:]))
            batch |= {name: torch.cat([batch[name], value]) for name, value in fill.items()}
        if structures > held:
            for name in ("sizes", "energies", "energy_weights", "virials", "stress_weights"):
                value = batch[name]
                rest = value.new_full((structures - held, *value.shape[1:]), 1.0 if name == "sizes" else 0.0)
                batch[name] = torch.cat([value, rest])
        return batch

    def shapes(self, batch_size: int, most: int = SHAPES) -> list[tuple[int, int]]:
        """List the shapes, `most` at most, that batches of this size are filled up to, smallest first."""
        sizes = torch.sort(self.count).values
        size = min(batch_size, len(self))
        largest = int(sizes[-size:].sum())
        smallest = int(sizes[:size].sum())
        steps = np.linspace(smallest, largest, most + 1) if largest > smallest else np.array([largest])
        atoms = sorted({max(2, int(np.ceil(x))) for x in steps[-most:]})
        return [(size, a) for a in atoms]

    def shape_for(self, indices: Tensor, shapes: list[tuple[int, int]]) -> tuple[int, int]:
        """Choose the smallest of the shapes that holds these structures; ValueError when none does."""
        atoms = int(self.count[indices.to(self.count.device)].sum())
        for shape in shapes:
            if shape[0] >= len(indices) and shape[1] >= atoms:
                return shape
        raise ValueError(
            f"could not fill up a batch: expected structures and atoms within one of {shapes}, "
            f"found {(len(indices), atoms)}. Give `shapes` the size of the largest batch."
        )


def _neighbors(frame: Frame, cutoff: float, atomic_numbers: list[int]) -> NeighborTable:
    check_species(frame.numbers, atomic_numbers, frame.where)
    table = find_neighbors(frame.positions, frame.cell, frame.periodic, cutoff)
    check_overlap(float(np.linalg.norm(table.vectors, axis=-1).min(initial=np.inf)), frame.where)
    return table


def _concatenated(parts: list[np.ndarray], empty: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(empty, dtype=dtype)


def _stacked(tables: list[NeighborTable], slots: int, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Widen the tables of all structures to the same number of slots and put them one after another."""
    atoms = sum(len(t.neighbors) for t in tables)
    neighbors = np.empty((atoms, slots), dtype=np.int64)
    reverse = np.broadcast_to(np.arange(slots), (atoms, slots)).copy()
    vectors = np.zeros((atoms, slots, 3))
    vectors[..., 0] = EMPTY_LENGTH * cutoff
    ends = np.cumsum([0, *(len(t.neighbors) for t in tables)])
    for table, (start, end) in zip(tables, pairwise(ends), strict=True):
        width = table.neighbors.shape[1]
        neighbors[start:end] = np.arange(end - start)[:, None]
        neighbors[start:end, :width] = table.neighbors
        reverse[start:end, :width] = table.reverse
        vectors[start:end, :width] = table.vectors
    return torch.from_numpy(neighbors), torch.from_numpy(reverse), torch.from_numpy(vectors)


def _targets(values: Sequence[float | None], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Hold targets in double precision with weight 1, and absent ones as zeros with weight 0."""
    weights = torch.tensor([0.0 if v is None else 1.0 for v in values], dtype=torch.float64).reshape(shape)
    return torch.tensor([v or 0.0 for v in values], dtype=torch.float64).reshape(shape), weights


def _targets_per_atom(frames: Sequence[Frame]) -> tuple[Tensor, Tensor]:
    forces = [np.zeros((len(f.numbers), 3)) if f.forces is None else f.forces for f in frames]
    weights = [np.full(len(f.numbers), 0.0 if f.forces is None else 1.0) for f in frames]
    return (
        torch.from_numpy(_concatenated(forces, (0, 3), np.float64)),
        torch.from_numpy(_concatenated(weights, (0,), np.float64)),
    )


def _volume(frame: Frame) -> float:
    """Return the volume of a frame's cell in Å³, 0 where it has none."""
    return float(abs(np.linalg.det(frame.cell)))


def _virials(frames: Sequence[Frame]) -> tuple[Tensor, Tensor]:
    """Hold stress times volume, dE/dε in eV: [structures, 3, 3]."""
    virials = [np.zeros((3, 3)) if f.stress is None else f.stress * _volume(f) for f in frames]
    weights = [0.0 if f.stress is None else 1.0 for f in frames]
    stacked = np.stack(virials) if virials else np.zeros((0, 3, 3))
    return torch.from_numpy(stacked), torch.tensor(weights, dtype=torch.float64)
