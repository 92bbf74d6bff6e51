"""Compare what an exported program computes with what the trained model computes.

A quantity agrees when, in every sample, no entry differs by more than `absolute + relative × largest entry`.
The relative part is needed because rounding grows with the size of what is rounded. NaN agrees with nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Tolerance:
    """Bound the deviation of one quantity: `absolute` in `unit`, `relative` to the largest entry."""

    absolute: float
    relative: float
    unit: str


@dataclass(frozen=True)
class Deviation:
    """Hold how far one quantity deviated at worst, in its unit, and what was allowed in that sample."""

    quantity: str
    sample: str
    found: float
    allowed: float
    unit: str

    @property
    def agrees(self) -> bool:
        """Tell whether the deviation is within what was allowed; NaN is not."""
        return bool(self.found <= self.allowed)

    def __str__(self) -> str:
        return (
            f"{self.quantity}: expected within {self.allowed:.1e} {self.unit}, "
            f"found {self.found:.1e} {self.unit} ({self.sample})"
        )


def compare(sample: str, expected: Values, found: Values, tolerances: Mapping[str, Tolerance]) -> list[Deviation]:
    """Measure every quantity of one sample; a missing quantity or another shape deviates without bound."""
    deviations: list[Deviation] = []
    for name, tolerance in tolerances.items():
        reference = np.asarray(expected[name], dtype=np.float64)
        value = np.asarray(found[name], dtype=np.float64) if name in found else None
        size = float(np.abs(reference).max(initial=0.0))
        allowed = tolerance.absolute + tolerance.relative * size
        if value is None or value.shape != reference.shape:
            worst = float("inf")
        else:
            worst = float(np.abs(value - reference).max(initial=0.0))
        deviations.append(Deviation(name, sample, worst, allowed, tolerance.unit))
    return deviations


def worst(deviations: list[Deviation]) -> dict[str, Deviation]:
    """Keep, for each quantity, the sample nearest to its bound or farthest beyond it."""
    kept: dict[str, Deviation] = {}
    for deviation in deviations:
        best = kept.get(deviation.quantity)
        if best is None or _badness(deviation) > _badness(best):
            kept[deviation.quantity] = deviation
    return kept


def _badness(deviation: Deviation) -> float:
    return float("inf") if np.isnan(deviation.found) else deviation.found / deviation.allowed
