"""What the runs of a folder are doing, read from their files alone.

Promise: nothing is locked, written or sent; a run that starts meanwhile notices nothing. A run that says it is running
and whose process is gone is *killed*: judged here, and written nowhere. Needs no torch.
Failure: OSError where a run's record can't be read.
"""

import csv
import heapq
import io
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from milepost.run.directory import PROGRESS, RECORD, order
from milepost.run.locking import OWNER
from milepost.run.owner import Owner, read_owner, standing
from milepost.run.record import RunRecord, read_record

Condition = Literal["running", "stopped", "finished", "failed", "killed"]

OUTPUTS = "outputs"
PATTERNS = (RECORD, f"*/{RECORD}", f"*/*/{RECORD}", f"{OUTPUTS}/*/*/{RECORD}", f"*/{OUTPUTS}/*/*/{RECORD}")
"""Where runs lie: below a folder that was worked in or one above it, in `outputs/`, in a day of it, in a run itself."""

SILENT = 60.0
"""Seconds without a sign of life after which a run is said to be silent."""
_LOOKS = 5
_TAIL = 65536


@dataclass(frozen=True)
class Beat:
    """Hold what `progress.json` says: `fields` as they were written, and when its file was (seconds since 1970)."""

    fields: Mapping[str, Any]
    written: float

    def age(self, now: float | None = None) -> float:
        """Return the seconds since it was written; none where the clocks disagree about the order."""
        return max(0.0, (time.time() if now is None else now) - self.written)

    def number(self, name: str) -> float | None:
        """Return a field that is a finite number, None where it is not."""
        value = self.fields.get(name)
        real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return value if real else None

    @property
    def phase(self) -> str:
        """What was being done."""
        return str(self.fields.get("phase", ""))


@dataclass(frozen=True)
class RunStatus:
    """Say how a run stands.

    `owner` is who works on it, `beat` its latest sign of life, both None where there is none. `silent` is how many
    seconds ago that was, where it is a running run's and too long ago.
    """

    path: Path
    record: RunRecord
    condition: Condition
    owner: Owner | None = None
    beat: Beat | None = None
    silent: float | None = None

    @property
    def step(self) -> int:
        """The step it is at: of a living run the one it reached, of another the one that is kept."""
        reached = self.beat.number("step") if self.beat is not None and self.condition == "running" else None
        return self.record.step if reached is None else max(self.record.step, int(reached))

    @property
    def total(self) -> int | None:
        """The steps it is to take, where that is known."""
        return self.record.total_steps

    @property
    def ended(self) -> str | None:
        """When it ended, None while it runs and where nobody was left to write it down."""
        shares = self.record.processes
        return shares[-1].ended if shares and self.condition != "running" else None

    @property
    def last_checkpoint(self) -> str | None:
        """Name the last checkpoint, where it is still there."""
        folder = self.path / "checkpoints"
        saved = self.record.last_checkpoint
        if saved is not None:
            return saved.name if (folder / saved.name).exists() else None
        return max((path.name for path in folder.glob("step-*.ckpt")), default=None)  # of an old run


def list_runs(folders: Iterable[Path], unreadable: list[OSError] | None = None) -> list[RunStatus]:
    """List the runs below folders, newest last: in each `outputs/` by the order of their starts.

    Errors of runs that can't be read are added to `unreadable`; without it, the first one is raised.
    """
    groups: dict[Path, list[RunStatus]] = {}
    for path in dict.fromkeys(path for folder in folders for path in find_paths(folder)):
        try:
            found = look(path)
        except OSError as error:
            if unreadable is None:
                raise
            unreadable.append(error)
            continue
        if found is not None:
            groups.setdefault(path.parent.parent, []).append(found)
    ordered = [sorted(group, key=lambda run: order(run.record)) for group in groups.values()]
    return list(heapq.merge(*ordered, key=lambda run: run.record.created))


def find_paths(folder: Path) -> list[Path]:
    """List the directories of the runs below a folder, each once."""
    found = [path.parent for pattern in PATTERNS for path in sorted(folder.glob(pattern))]
    return list({path.resolve(): path for path in reversed(found)}.values())[::-1]


def look(path: Path) -> RunStatus | None:
    """Say how the run in a directory stands; None where there is none.

    What was read belongs together: the owner is read before and after the rest.
    """
    for _ in range(_LOOKS):
        owner = read_owner(path / OWNER)
        record, beat = read_record(path / RECORD), read_beat(path / PROGRESS)
        if record is None:
            return None
        if owner == read_owner(path / OWNER):
            break
    lives = owner is not None and standing(owner) != "ended"
    condition: Condition = record.state
    if lives and record.state != "finished":
        condition = "running"
    elif not lives and record.state == "running":
        condition = "killed"
    if condition != "running":
        return RunStatus(path, record, condition, owner if lives else None, beat)
    quiet = beat.age() if beat is not None and beat.age() > SILENT else None
    return RunStatus(path, record, condition, owner, beat, quiet)


def read_beat(path: Path) -> Beat | None:
    """Read a heartbeat, None where there is none that can be read."""
    try:
        with path.open("rb") as stream:
            written = path.stat().st_mtime
            fields = json.loads(stream.read())
    except (OSError, ValueError):
        return None
    return Beat(fields, written) if isinstance(fields, dict) else None


def last_metrics(path: Path) -> dict[str, float]:
    """Return the last whole row of a file of metrics, nothing where there is none; reads its two ends only."""
    try:
        with path.open("rb") as stream:
            names = next(csv.reader([stream.readline().decode()]), [])
            start = stream.tell()
            stream.seek(max(start, stream.seek(0, io.SEEK_END) - _TAIL))
            tail = stream.read()
    except (OSError, ValueError):
        return {}
    lines = tail[: tail.rfind(b"\n") + 1].decode(errors="replace").splitlines()
    values = next(csv.reader(lines[-1:]), [])
    return {name: float(value) for name, value in zip(names, values, strict=False) if _is_number(value)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def seconds_since(text: str) -> float | None:
    """Return how long ago a time in ISO 8601 was, at least none; None where it is no time."""
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, time.time() - then.timestamp())
