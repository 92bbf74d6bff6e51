"""Say how far a training that was stopped and continued ended from one that never was.

Pure functions of what the two left behind: weights, rows of the log, the examples of every step. Needs NumPy alone.
Nothing here fails on what it is given: what one side lacks counts as a difference.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[Any]]
Examples = tuple[Hashable, ...]


@dataclass(frozen=True)
class Batch:
    """Hold the examples of one step, and the epoch that the program counted it to."""

    epoch: int
    examples: Examples


@dataclass(frozen=True)
class Distance:
    """Say how far two sets of tensors are apart.

    `differing` of `tensors` are not the same to the bit; `largest` is the largest difference of two elements and
    `relative` the L2 norm of all differences divided by that of the tensors of the first set that differ, so that large
    constants count for nothing. Infinite where a tensor is absent, has another shape, or differs by no finite number.
    """

    differing: int
    tensors: int
    largest: float
    relative: float


def distance(kept: Weights, other: Weights) -> Distance:
    """Compare the weights of a run that was never stopped with other weights, in double precision."""
    names = sorted(kept.keys() | other.keys())
    differing, largest, squares, size = 0, 0.0, 0.0, 0.0
    for name in names:
        a, b = kept.get(name), other.get(name)
        if a is None or b is None or a.shape != b.shape:
            differing, largest, squares = differing + 1, math.inf, math.inf
        elif a.dtype != b.dtype or a.tobytes() != b.tobytes():
            differences = np.abs(a.astype(np.float64) - b.astype(np.float64))
            differences[~np.isfinite(differences)] = math.inf
            differing += 1
            largest = max(largest, float(differences.max(initial=0.0)))
            squares += float(np.square(differences).sum())
            size += float(np.square(a.astype(np.float64)).sum())
    relative = 0.0 if squares == 0 else math.sqrt(squares / size) if size else math.inf
    return Distance(differing, len(names), largest, relative)


def row_faults(kept: Sequence[int], stopped: Sequence[int]) -> tuple[int, int]:
    """Count the rows that the log of a stopped run has more often than it should, and those that it lacks.

    Rows are named by the step or the epoch that they speak of.
    """
    expected, found = Counter(kept), Counter(stopped)
    return (found - expected).total(), (expected - found).total()


def joined(parts: Sequence[Sequence[Batch]], steps: Sequence[int]) -> list[Batch]:
    """Put together the steps that the final weights went through.

    `parts` are those of each process in turn; of each but the last only the first so many count, namely those before
    the checkpoint that the next one continued from.
    """
    counted = [part[:count] for part, count in zip(parts[:-1], steps, strict=True)]
    return [batch for part in (*counted, parts[-1]) for batch in part]


def uneven(batches: Sequence[Batch], examples: Sequence[Hashable]) -> tuple[int, int]:
    """Count, over all epochs, how often an example came again in an epoch, and how often it never came."""
    again = never = 0
    for epoch in {batch.epoch for batch in batches}:
        seen = Counter(example for batch in batches if batch.epoch == epoch for example in batch.examples)
        again += seen.total() - len(seen)
        never += len(set(examples) - seen.keys())
    return again, never


def other_batches(kept: Sequence[Batch], stopped: Sequence[Batch]) -> int:
    """Count the steps that were taken with other examples, whatever their order in the batch."""
    pairs = zip(kept, stopped, strict=False)
    other = sum(Counter(a.examples) != Counter(b.examples) for a, b in pairs)
    return other + abs(len(kept) - len(stopped))


@dataclass(frozen=True)
class Growth:
    """Say how a time grows: `slope` per unit of `x`, and its standard error."""

    slope: float
    error: float


def growth(x: Sequence[float], y: Sequence[float]) -> Growth:
    """Fit a line by least squares, with the usual standard error of its slope (NaN below three points)."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    spread = float(np.square(xs - xs.mean()).sum())
    if spread == 0:
        return Growth(math.nan, math.nan)
    slope = float(((xs - xs.mean()) * (ys - ys.mean())).sum()) / spread
    rest = ys - ys.mean() - slope * (xs - xs.mean())
    freedom = len(xs) - 2
    return Growth(slope, math.sqrt(float(np.square(rest).sum()) / freedom / spread) if freedom > 0 else math.nan)
