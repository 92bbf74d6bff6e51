"""The matrix of a task stream: how well each task is done after each task was learned, and what follows from it.

    R[i, j]     a metric on task j, measured when task i was learned; tasks count from 0
    b[j]        the metric on task j before anything was learned

Promise: scores are computed from what was measured, and are of tasks that were learned: a mean is over the entries that
there are, and NaN where there is none. A run may pass over the first tasks, or learn some again: the first don't count,
and a task that was learned before the one in front of it ended has no forward transfer. Of metrics that are errors the
signs are turned, so that forgetting is a loss and transfer a gain when they are positive. Needs neither torch nor
numpy.
Failure: ValueError for entries that have no place; StateMismatchError for the state of another stream; OSError or
CommitError where files can't be read or written.

A joint run learns all tasks at once and has one row: its average is over all tasks, the bound that learners are
compared with; nothing is learned before or after anything else, so that forgetting and transfer are NaN.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from milepost.archive import atomic_write
from milepost.errors import StateMismatchError
from milepost.learning.matrix_text import table_text

Direction: TypeAlias = Literal["max", "min"]
Row: TypeAlias = list[float]

FILE = "tasks.json"
FORMAT = 1
NAN = math.nan


class TaskMatrix:
    """Hold a matrix for each metric; `Stateful`.

    `metrics` tells which metrics are followed, and whether the greatest or the least value of each is the best one;
    `history` lists the tasks in the order in which they were learned, twice what was learned twice.
    """

    def __init__(self, tasks: Sequence[str], metrics: Mapping[str, Direction], *, joint: bool = False) -> None:
        self.tasks, self.metrics, self.joint = tuple(tasks), dict(metrics), joint
        self.history: list[int] = []
        self.before: dict[str, Row] = {name: self._empty() for name in metrics}
        self.rows: dict[str, list[Row]] = {
            name: [self._empty() for _ in range(1 if joint else len(tasks))] for name in metrics
        }

    @property
    def last(self) -> int | None:
        """The last row in which something was measured; None before the first."""
        measured = [row for rows in self.rows.values() for row, values in enumerate(rows) if _known(values)]
        return max(measured, default=None)

    @property
    def blank(self) -> bool:
        """Whether nothing was learned, and nothing measured, yet."""
        return not self.history and self.last is None and not any(map(_known, self.before.values()))

    def learned(self, row: int) -> tuple[int, ...]:
        """Return which of the tasks up to `row` were learned when it was measured; of a joint run all."""
        if self.joint:
            return tuple(range(len(self.tasks)))
        return tuple(task for task in range(row + 1) if task in self._until(row))

    def baseline(self, found: Sequence[Mapping[str, float] | None]) -> None:
        """Set what was found on the first tasks before anything was learned; other metrics are passed over."""
        for name, values in self._entries(found).items():
            self.before[name] = values

    def add(self, row: int, found: Sequence[Mapping[str, float] | None]) -> None:
        """Set what was found on the first tasks after task `row` was learned; other metrics are passed over.

        Of a joint run the row is 0.

        None stands for a task that was not measured, as do tasks behind the end of `found`.
        """
        count = 1 if self.joint else len(self.tasks)
        if not 0 <= row < count:
            raise ValueError(f"could not note what was measured: expected a row from 0 to {count - 1}, found {row}.")
        for name, values in self._entries(found).items():
            self.rows[name][row] = values
        self.history.append(row)

    def forget(self, row: int) -> None:
        """Forget what was measured after task `row` and later ones: they are to be learned again.

        That they were learned stays known.
        """
        for rows in self.rows.values():
            rows[row:] = [self._empty() for _ in rows[row:]]

    def average(self, metric: str, row: int | None = None) -> float:
        """Return the mean of a row over the tasks learned by then (D. Lopez-Paz, M. Ranzato, NeurIPS 2017, eq. 2)."""
        row = self._row(row)
        return NAN if row is None else _mean(self.rows[metric][row][task] for task in self.learned(row))

    def forgetting(self, metric: str, row: int | None = None) -> float:
        """Return how much worse the earlier tasks are done than at their best, on average.

        A. Chaudhry et al., Riemannian walk, ECCV 2018: the mean of f_j = max_l R[l, j] - R[k, j] over the tasks j < k,
        l < k, that were learned, for the row k. It is negative where tasks were done better than ever before.
        """
        row, rows = self._row(row), self.rows[metric]
        if row is None or self.joint:
            return NAN
        return _mean(
            self._gain(metric, self._best(metric, [rows[earlier][task] for earlier in range(row)]), rows[row][task])
            for task in self.learned(row)
            if task < row
        )

    def backward_transfer(self, metric: str, row: int | None = None) -> float:
        """Return how much better the earlier tasks are done than when they were learned, on average.

        D. Lopez-Paz, M. Ranzato, NeurIPS 2017, eq. 3: the mean of R[k, j] - R[j, j] over j < k, for the row k.
        """
        row, rows = self._row(row), self.rows[metric]
        if row is None or self.joint:
            return NAN
        return _mean(self._gain(metric, rows[row][task], rows[task][task]) for task in self.learned(row) if task < row)

    def forward_transfer(self, metric: str, row: int | None = None) -> float:
        """Return how much better tasks were done before they were learned than by a model that learned nothing.

        D. Lopez-Paz, M. Ranzato, NeurIPS 2017, eq. 4: the mean of R[j - 1, j] - b[j] over 0 < j <= k, for the row k,
        without tasks that had been learned already when R[j - 1, j] was measured, or were not learned at all.
        """
        row, rows = self._row(row), self.rows[metric]
        if row is None or self.joint:
            return NAN
        before = self.before[metric]
        new = [task for task in self.learned(row) if task and task not in self._until(task - 1)]
        return _mean(self._gain(metric, rows[task - 1][task], before[task]) for task in new)

    def scores(self, metric: str, row: int | None = None) -> dict[str, float]:
        """Return the four scores of a metric after a row: by default the last."""
        return {
            "average": self.average(metric, row),
            "forgetting": self.forgetting(metric, row),
            "backward_transfer": self.backward_transfer(metric, row),
            "forward_transfer": self.forward_transfer(metric, row),
        }

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Return the scores after the last row by metric, None where there is none."""
        return {
            metric: {score: None if math.isnan(value) else value for score, value in self.scores(metric).items()}
            for metric in self.metrics
        }

    def table(self, metric: str) -> str:
        """Write a matrix and its scores for people: a row for each task learned, a column for each task measured."""
        names = ("all tasks",) if self.joint else self.tasks
        rows = [(f"{row}  {name}", self.rows[metric][row], self.average(metric, row)) for row, name in enumerate(names)]
        if _known(self.before[metric]):
            rows.insert(0, ("   before", self.before[metric], NAN))
        measured = [row for row in rows if _known(row[1])]
        return table_text(range(len(self.tasks)), measured, self.scores(metric))

    def write(self, folder: Path) -> None:
        """Write all into `tasks.json`, and each matrix into `matrix-METRIC.csv`, in the place of those of before.

        The first is there whole after a power cut; the others can be made from it.
        """
        text = json.dumps(self._document(), indent=2, ensure_ascii=False, allow_nan=False)
        atomic_write(folder / FILE, lambda stream: _write(stream, text + "\n"), overwrite=True)
        for metric in self.metrics:
            path, rows = folder / f"matrix-{file_name(metric)}.csv", self._csv(metric)
            atomic_write(path, lambda stream, text=rows: _write(stream, text), durability="process", overwrite=True)

    @classmethod
    def read(cls, folder: Path) -> "TaskMatrix | None":
        """Read what `write` wrote; None where there is no such file, or it is of another kind."""
        try:
            content = json.loads((folder / FILE).read_bytes())
            if content["format"] != FORMAT:
                return None
            matrix = cls(content["tasks"], content["metrics"], joint=content["joint"])
            matrix.load_state_dict(content)
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return matrix

    def state_dict(self) -> dict[str, Any]:
        """Return tasks, metrics, every entry, None where nothing was measured, and what was learned in which order."""
        return {
            "tasks": list(self.tasks),
            "metrics": dict(self.metrics),
            "joint": self.joint,
            "before": {name: _plain(values) for name, values in self.before.items()},
            "rows": {name: [_plain(values) for values in rows] for name, rows in self.rows.items()},
            "history": list(self.history),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved matrix of the same stream; raises StateMismatchError for another one."""
        mine = self.state_dict()
        problems = [
            f"{key}: expected {mine[key]}, found {state[key]}"
            for key in ("tasks", "metrics", "joint")
            if state[key] != mine[key]
        ]
        shapes = _shape(mine["before"]), _shape(mine["rows"])
        if not problems and (_shape(state["before"]), _shape(state["rows"])) != shapes:
            problems.append("rows: expected one entry for each task, found others")
        if problems:
            raise StateMismatchError(
                "could not restore the matrix of tasks:\n  " + "\n  ".join(problems)
                + "\nContinue with the tasks that the run was started with."
            )  # fmt: skip
        self.before = {name: _numbers(values) for name, values in state["before"].items()}
        self.rows = {name: [_numbers(values) for values in rows] for name, rows in state["rows"].items()}
        self.history = [int(task) for task in state["history"]]

    def _empty(self) -> Row:
        return [NAN] * len(self.tasks)

    def _until(self, row: int) -> set[int]:
        """Return the tasks that had been learned when a row was measured last."""
        later = self.history[::-1].index(row) if row in self.history else len(self.history)
        return set(self.history[: len(self.history) - later])

    def _row(self, row: int | None) -> int | None:
        return self.last if row is None else row

    def _entries(self, found: Sequence[Mapping[str, float] | None]) -> dict[str, Row]:
        if len(found) > len(self.tasks):
            raise ValueError(
                f"could not note what was measured: expected at most {len(self.tasks)} tasks, found {len(found)}."
            )
        measured = [*found, *([None] * (len(self.tasks) - len(found)))]
        return {name: [float((values or {}).get(name, NAN)) for values in measured] for name in self.metrics}

    def _best(self, metric: str, values: Iterable[float]) -> float:
        known = _known(values)
        return (max if self.metrics[metric] == "max" else min)(known) if known else NAN

    def _gain(self, metric: str, value: float, reference: float) -> float:
        """Return how much better a value is than another."""
        return value - reference if self.metrics[metric] == "max" else reference - value

    def _document(self) -> dict[str, Any]:
        scores = {metric: _finite(values) for metric, values in self.summary().items()}
        return {"format": FORMAT, **_finite(self.state_dict()), "scores": scores}

    def _csv(self, metric: str) -> str:
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["after", *self.tasks])
        names = ("all tasks",) if self.joint else self.tasks
        for name, values in zip(("nothing", *names), (self.before[metric], *self.rows[metric]), strict=True):
            lines.writerow([name, *("" if math.isnan(value) else repr(value) for value in values)])
        return text.getvalue()


def file_name(metric: str) -> str:
    """Return a metric's name as it stands in the names of files."""
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in metric)


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _mean(values: Iterable[float]) -> float:
    known = _known(values)
    return math.fsum(known) / len(known) if known else NAN


def _plain(values: Row) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def _numbers(values: Iterable[float | str | None]) -> Row:
    return [NAN if value is None else float(value) for value in values]


def _finite(value: Any) -> Any:
    """Write infinities as text: JSON has no number for them."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shape(entries: Any) -> Any:
    if isinstance(entries, Mapping):
        return {name: _shape(inner) for name, inner in entries.items()}
    return [_shape(inner) for inner in entries] if isinstance(entries, list) else None


def _write(stream: Any, text: str) -> None:
    stream.write(text.encode())
