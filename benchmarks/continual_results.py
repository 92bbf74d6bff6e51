"""Keep what runs of the continual benchmark came to, and make tables of it.

A file of results has a line of JSON for each run. Promise: lines are only ever added, each whole; a run counts for a
cell only where its settings are those of the cell today, so that a changed setting is measured anew. Needs nothing but
the standard library.
Failure: `SystemExit` naming the line that is no result.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from continual_protocol import ASKED, CELLS, METRICS, STREAMS, TASK, Cell, Published, published, read_outs
from protocol import table

Found = Mapping[str, Any]
"""What is known of a run: cell and seed, settings, scores, seconds, versions."""

NEAR = 1.5
"""Points of accuracy that a mean may be from the published one."""
DEVIATIONS = 2
"""Standard deviations that it may be from it."""


def settings(cell: Cell) -> dict[str, Any]:
    """Return what decides a cell's figures, as plain values; the seed and the folder of the data aside."""
    options = cell.options(0, "")
    return {key: options[key] for key in ("architecture", "learner")} | {"stream": cell.stream}


def described(cell: Cell, seed: int, result: Found) -> dict[str, Any]:
    """Return the line of a run."""
    return {"settings": settings(cell), "seed": seed, **result}


def read(file: Path) -> list[Found]:
    """Read all lines; none where there is no file. Raises SystemExit for a line that is no result."""
    if not file.exists():
        return []
    found: list[Found] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise SystemExit(f"{file}:{number}: expected the JSON of a run, found {line[:40]!r}; remove it") from error
    return found


def append(file: Path, line: Found) -> None:
    """Add a run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def of(cell: Cell, lines: Sequence[Found]) -> dict[int, Found]:
    """Choose the runs of a cell, by seed; the last where there are several."""
    wanted = settings(cell)
    return {line["seed"]: line for line in lines if line["settings"] == wanted}


@dataclass(frozen=True)
class Measured:
    """Hold the mean of an accuracy over seeds in %, and its standard deviation (n - 1), None for a single seed."""

    mean: float
    deviation: float | None
    seeds: int

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {self.deviation:.2f}"
        return f"{self.mean:.2f}{spread} ({self.seeds})"


def measured(runs: Mapping[int, Found], metric: str, score: str = "average") -> Measured | None:
    """Average a score of the last row over seeds; None where no run has it."""
    values = [run["scores"].get(metric, {}).get(score) for run in runs.values()]
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Measured(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def verdict(found: Measured, expected: Published) -> str:
    """Say whether a mean is as near to the published one as it should be, and by which measure.

    Where no standard deviation was published, the measured one takes its place.
    """
    difference = abs(found.mean - expected.mean)
    if difference <= NEAR:
        return f"within {NEAR}"
    own = expected.deviation is None
    deviation = found.deviation if own else expected.deviation
    if deviation is not None and difference <= DEVIATIONS * deviation:
        return f"within {DEVIATIONS} of our σ" if own else f"within {DEVIATIONS} σ"
    return "no"


HEADER = ("learner", "measured", "published", "difference", "met", "forgetting", "training [s]")


def row(cell: Cell, read_out: str, lines: Sequence[Found]) -> tuple[str, ...] | None:
    """Lay out a cell as one read-out has it; None where it was not measured and nothing was published."""
    runs, expected = of(cell, lines), published(cell, read_out)
    found = measured(runs, METRICS[read_out])
    if found is None:
        return (cell.name, "–", _figure(expected), "–", "–", "–", "–") if expected and cell.learner in ASKED else None
    lost = measured(runs, METRICS[read_out], "forgetting")
    seconds = statistics.median(run["seconds"]["training"] for run in runs.values())
    compared = ("–", "–")
    if expected is not None:
        compared = (f"{found.mean - expected.mean:+.2f}", verdict(found, expected))
    return (cell.name, str(found), _figure(expected), *compared, f"{lost.mean:.1f}" if lost else "–", f"{seconds:.0f}")


def tables(lines: Sequence[Found], cells: Sequence[Cell] = CELLS) -> str:
    """Write a Markdown table for every stream and read-out."""
    parts: list[str] = []
    for stream, title in STREAMS.items():
        own = [cell for cell in cells if cell.stream == stream]
        for read_out in read_outs(stream):
            rows = [found for cell in own if (found := row(cell, read_out, lines)) is not None]
            if rows:
                note = " (from the same runs)" if read_out == TASK else ""
                parts.append(f"### {title}, {read_out}{note}\n\n{table(HEADER, rows)}")
    return "\n\n".join(parts)


def _figure(expected: Published | None) -> str:
    if expected is None:
        return "–"
    return f"{expected.mean:.2f}" + ("" if expected.deviation is None else f" ± {expected.deviation:.2f}")
