"""One run, one directory, whatever number of times it is stopped and continued.

    outputs/2026-01-31/12-00-00/
        run.json         who the run is and how it stands
        options.yaml     what is trained, every default written out
        metrics.csv      one row for every evaluation
        errors.json      errors of the finished model on every set
        checkpoints/     step-00001234.ckpt, and `latest`, a hint
        lock             held by the process that trains

Identity is a random number drawn when the run starts, never the clock or the path: a directory can be moved.
"""

import json
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal

from filelock import FileLock, Timeout

from milepost.archive import atomic_write
from milepost.errors import ResumeError

State = Literal["running", "stopped", "finished", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """Hold what `run.json` says. `identity` digests the options that make two runs the same experiment."""

    run_id: str
    identity: str
    created: str
    state: State = "running"
    step: int = 0
    note: str = ""


class RunDirectory:
    """Own one run's directory while it is being trained."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record
        self._lock = FileLock(path / "lock")

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """File of the metrics."""
        return self.path / "metrics.csv"

    def acquire(self) -> None:
        """Take the lock; raises ResumeError when another process trains this run."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ResumeError(
                f"could not continue the run in '{self.path}': another process is training it. "
                "Wait until it ends, or start a new run in another directory."
            ) from error

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def update(self, state: State, step: int, note: str = "") -> None:
        """Write how the run stands."""
        self.record = replace(self.record, state=state, step=step, note=note)
        write_text(self.path / "run.json", json.dumps(asdict(self.record), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole, replacing the one of before."""

    def put(stream: BinaryIO) -> None:
        stream.write(text.encode())

    atomic_write(path, put, overwrite=True)


def new_run(root: Path, identity: str, now: datetime | None = None) -> RunDirectory:
    """Make the directory of a new run, `root/YYYY-MM-DD/HH-MM-SS`, with a number behind it if that is taken."""
    now = now or datetime.now().astimezone()
    folder = root / now.strftime("%Y-%m-%d")
    folder.mkdir(parents=True, exist_ok=True)
    name = now.strftime("%H-%M-%S")
    number = 1
    while True:
        path = folder / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
            break
        except FileExistsError:
            number += 1
    (path / "checkpoints").mkdir()
    directory = RunDirectory(path, RunRecord(secrets.token_hex(8), identity, now.isoformat(timespec="microseconds")))
    directory.update("running", 0)
    return directory


def open_run(path: Path) -> RunDirectory | None:
    """Open an existing run's directory, or None where there is none."""
    try:
        record = RunRecord(**json.loads((path / "run.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
    return RunDirectory(path, record)


def find_runs(root: Path) -> list[RunDirectory]:
    """List all runs below a root, oldest first."""
    found = [open_run(path.parent) for path in sorted(root.glob("*/*/run.json"))]
    return sorted((run for run in found if run is not None), key=lambda run: run.record.created)
