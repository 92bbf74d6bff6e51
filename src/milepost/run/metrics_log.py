"""Write `metrics.csv`: one row for every evaluation, none twice and none missing, however often the run stopped.

A checkpoint remembers how long the file was; restoring cuts away what a killed run wrote after that. If the file is
gone or shorter (another machine, a lost disk), the log starts again at the checkpoint, and nothing else changes.
"""

import csv
import io
import os
from pathlib import Path
from typing import Any


class MetricsLog:
    """Append rows of metrics; `Stateful`. Columns are fixed by the first row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._length = 0

    def append(self, row: dict[str, float]) -> None:
        """Write one row and hand it to the operating system."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._columns:
            self._columns = list(row)
            writer.writerow(self._columns)
        writer.writerow([_text(row.get(name)) for name in self._columns])
        data = text.getvalue().encode()
        mode = "r+b" if self.path.exists() and self._length else "wb"
        with self.path.open(mode) as stream:
            stream.seek(self._length)
            stream.write(data)
            stream.truncate()
        self._length += len(data)

    def sync(self) -> None:
        """Make what was written survive a power cut, before a checkpoint refers to it."""
        if self._length:
            with self.path.open("rb") as stream:
                os.fsync(stream.fileno())

    def state_dict(self) -> dict[str, Any]:
        """Return the columns and the length of the file in bytes."""
        return {"columns": list(self._columns), "length": self._length}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the saved length; rows written later are cut away."""
        present = self.path.stat().st_size if self.path.exists() else 0
        if present < state["length"]:
            self._columns, self._length = [], 0
            return
        self._columns, self._length = list(state["columns"]), state["length"]
        if present > self._length:
            os.truncate(self.path, self._length)


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:.9g}"
