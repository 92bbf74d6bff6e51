"""Say how one run stands, with what it knows of its tasks: the part of `milepost show` that is about runs.

Promise: only files are read, and no torch is imported. Failure: OSError where the run's record can't be read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost.cli.runs import fields, row
from milepost.cli.show import pairs

if TYPE_CHECKING:
    from milepost.learning import TaskMatrix
    from milepost.run.index import RunStatus


@dataclass(frozen=True)
class RunContents:
    """Hold what the files of a run say: how it stands, its latest metrics, and the matrix of its tasks."""

    run: "RunStatus"
    metrics: Mapping[str, float]
    matrix: "TaskMatrix | None"


def find_run(path: Path) -> RunContents | None:
    """Read what the run in a directory says of itself; None where there is none."""
    from milepost.learning.matrix import TaskMatrix
    from milepost.run.index import last_metrics, look

    run = look(path)
    return None if run is None else RunContents(run, last_metrics(path / "metrics.csv"), TaskMatrix.read(path))


def run_fields(contents: RunContents) -> dict[str, Any]:
    """Collect all of it for JSON."""
    matrix = contents.matrix
    tasks = None if matrix is None else {**matrix.state_dict(), "scores": matrix.summary()}
    return {"kind": "run", **fields(contents.run), "metrics": dict(contents.metrics), "matrix": tasks}


def run_page(contents: RunContents) -> Iterator[str]:
    """Write it for people, line by line."""
    run, matrix = contents.run, contents.matrix
    said = row(run)
    yield said.pop("run")
    head = {"kind": "run", **said, "started": run.record.created, "ended": run.ended or ""}
    yield from pairs({name: value for name, value in head.items() if value})
    if contents.metrics:
        yield from ("", "metrics at the latest evaluation", *pairs(contents.metrics))
    if matrix is None:
        return
    for metric in matrix.metrics:
        yield from ("", f"{metric} on each task (columns) after each task was learned (rows)")
        yield from (f"  {line}" for line in matrix.table(metric).splitlines())


def damages_of_run(path: Path) -> list[str]:
    """Read every byte of the run's files that hold digests, and list what is damaged."""
    from milepost.archive.verifying import verify_paths
    from milepost.cli.verify import line

    return [line(verdict) for verdict in verify_paths([path]) if verdict.state not in ("sound", "missing")]
