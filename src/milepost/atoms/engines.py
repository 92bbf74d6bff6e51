"""Run a trained potential from any of its files on structures, behind one interface.

An engine takes structures and returns predictions; what differs is the program behind it: the trained network
itself (`eager`), a compiled graph (`milepost.atoms.compiled`) or a metatomic model
(`milepost.atoms.metatomic`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from milepost.atoms.exporting_graph import AtomicGraph, ModelFacts, Program, Results
from milepost.atoms.potential import Potential
from milepost.atoms.tables import (
    Geometry,
    MovingTable,
    PairTable,
    Prediction,
    Structure,
    padded_positions,
    tabulate,
)

PAIRS_OF_ONE_THREAD = 1024
"""Slots up to which waking other threads is taken to cost more than they save: some thirty atoms."""


class Engine(Protocol):
    """Predict energies, forces and virials."""

    facts: ModelFacts
    device: torch.device

    def predict(self, structures: Sequence[Structure]) -> list[Prediction]:
        """Predict several structures at once. Raises DataError naming the one that can't be."""
        ...

    def follow(self, structure: Geometry) -> Prediction:
        """Predict one structure that resembles the last one, as in dynamics; the same result, sooner."""
        ...


class TableEngine:
    """Run a program of tensors: prepare its table, call it, divide its results by structure."""

    def __init__(self, program: Program, facts: ModelFacts, device: torch.device, skin: float) -> None:
        self.facts = facts
        self.device = device
        self._program = program
        self._moving = MovingTable(facts, device, skin)

    def predict(self, structures: Sequence[Structure]) -> list[Prediction]:
        """Predict several structures at once."""
        if not structures:
            return []
        table, _ = tabulate(structures, self.facts, self.device)
        results = self._run(padded_positions(structures), table)
        ends = np.cumsum([len(s.numbers) for s in structures])
        return [
            _prediction(results, int(end) - len(s.numbers), int(end)) for s, end in zip(structures, ends, strict=True)
        ]

    def follow(self, structure: Geometry) -> Prediction:
        """Predict one structure, reusing the table of the last one where that is exact."""
        table = self._moving.update(structure)
        return _prediction(self._run(padded_positions([structure]), table), 0, len(structure.numbers))

    def _run(self, positions: NDArray[np.float64], table: PairTable) -> list[NDArray[np.float64]]:
        on_device = torch.from_numpy(positions).to(self.device)
        with _few_threads(table.neighbors.numel()):
            results: Results = self._program(on_device, table.neighbors, table.reverse, table.offsets, table.species)
        return [x.cpu().numpy().astype(np.float64, copy=False) for x in results]


@contextmanager
def _few_threads(pairs: int) -> Iterator[None]:
    """Compute a small table on one thread, where waking the others takes longer than the work."""
    threads = torch.get_num_threads()
    if threads == 1 or pairs > PAIRS_OF_ONE_THREAD:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _prediction(results: list[NDArray[np.float64]], start: int, end: int) -> Prediction:
    energies, forces, virials = (x[start:end] for x in results)
    return Prediction(float(energies.sum()), energies, forces, virials.sum(0))


def eager(potential: Potential, layers: int, skin: float) -> TableEngine:
    """Run a potential as it was trained."""
    return TableEngine(AtomicGraph(potential), ModelFacts.of(potential, layers), potential.references.device, skin)
