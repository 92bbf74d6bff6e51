"""Write a matrix of tasks as text that fits a terminal.

Promise: numbers of one table have the same number of decimals, four digits for the largest or three where columns are
many; entries that were not measured are left blank.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Line: TypeAlias = tuple[str, Sequence[float], float]

WIDE = 10
"""Columns from which on numbers are written with fewer digits."""
MOST_DECIMALS = 8


def table_text(columns: Sequence[int], rows: Sequence[Line], scores: dict[str, float]) -> str:
    """Return a table of rows, each a label, its entries and their average, with the scores below."""
    values = [value for _, entries, average in rows for value in (*entries, average)]
    digits, gap = (4, "  ") if len(columns) < WIDE else (3, " ")
    places = decimals(values, digits)
    cells = [
        ["", *map(str, columns), "average"],
        *([label, *(_shown(value, places) for value in (*entries, average))] for label, entries, average in rows),
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [f"{line[0]:<{widths[0]}}{gap}{gap.join(_aligned(line[1:], widths[1:]))}".rstrip() for line in cells]
    return "\n".join(filter(None, (*lines, score_line(scores, places))))


def score_line(scores: dict[str, float], places: int) -> str:
    """Name each score that there is, in one line."""
    shown = [f"{name.replace('_', ' ')} {_shown(value, places)}" for name, value in scores.items()]
    return ", ".join(text for text, value in zip(shown, scores.values(), strict=True) if not math.isnan(value))


def decimals(values: Iterable[float], digits: int) -> int:
    """Return the decimals with which the largest of some numbers has so many digits; a power of ten has one more."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return 1
    return min(MOST_DECIMALS, max(0, digits - math.ceil(math.log10(largest))))


def _shown(value: float, places: int) -> str:
    return "" if math.isnan(value) else f"{value:z.{places}f}"  # z: no minus before a zero


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
