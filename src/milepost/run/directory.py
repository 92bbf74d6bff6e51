"""One run, one directory, whatever number of times it is stopped and continued.

    outputs/2026-01-31/12-00-00/
        run.json         who the run is, how it stands, who worked on it
        options.yaml     what is trained, every default written out
        metrics.csv      one row for every evaluation
        errors.json      errors of the finished model on every set
        progress.json    how far it is, written about every second: a hint for people
        checkpoints/     step-00001234.ckpt, and `latest`, a hint
        lock, owner.json held by the process that trains; the second says which that is

Identity is a random number drawn when the run starts, never the clock or the path: a directory can be moved. Runs are
ordered by an ordinal number given at the start, under a lock of `outputs/`: a clock that is set back changes nothing.
Failure: ResumeError where another process has the run; CommitError where its record can't be written.
"""

import csv
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from milepost.archive import FileSystem, atomic_write
from milepost.errors import ResumeError
from milepost.run.beginnings import clear_beginnings
from milepost.run.locking import OWNER, PATIENCE, WAIT, Refusal, RunLock
from milepost.run.owner import read_owner, standing
from milepost.run.record import BestValue, RunRecord, SavedCheckpoint, Share, State, read_record, record_text

RECORD = "run.json"
PROGRESS = "progress.json"


class RunDirectory:
    """Own one run's directory while it is being trained; as a context, it is locked, and a failure is noted."""

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record
        self._lock = RunLock(path, pulse=path / PROGRESS)
        self._writing = threading.Lock()  # checkpoints are noted from the thread that saves them
        self._new = not record.processes and record.state == "running"
        self._began = False

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """File of the metrics."""
        return self.path / "metrics.csv"

    @property
    def progress(self) -> Path:
        """File of the heartbeat."""
        return self.path / PROGRESS

    def acquire(self, patience: float = PATIENCE) -> None:
        """Take the lock, unless this object has it; raises ResumeError naming the process that trains this run."""
        if self._lock.held:
            return
        self._lock.acquire(f"continue the run in '{self.path}'", patience)
        # Another process may have worked on the run between the look at it and the lock.
        self.record = read_record(self.path / RECORD) or self.record

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> "RunDirectory":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception) and (self._began or self._new) and self.record.state == "running":
                with suppress(OSError):  # the error that is under way tells more
                    first = (str(error).splitlines() or [type(error).__name__])[0]
                    self.update("failed", self.record.step, first)
        finally:
            self.release()

    def begin(
        self, step: int, total_steps: int, environment: Mapping[str, Any] | None = None, changes: tuple[str, ...] = ()
    ) -> None:
        """Note that this process goes on from a step, in which environment, and what of that changed."""
        now = _now()
        share = Share(step, step, now, None, dict(environment or {}), tuple(changes))
        self._began = True
        self._write(
            state="running", step=step, note="", total_steps=total_steps, processes=(*self.record.processes, share)
        )

    def saved(self, checkpoint: str, step: int, epoch: int, best: BestValue | None = None) -> None:
        """Note a checkpoint that is committed, with the best value known when it was taken.

        The step of a value that is known already is kept; of one that comes without, it is looked up in the metrics.
        """
        known = self.record.best
        if best is not None and known is not None and (known.metric, known.value) == (best.metric, best.value):
            best = known
        elif best is not None and best.step is None:
            best = replace(best, step=step_of(self.metrics, best, step))
        self._write(
            state="running",
            step=step,
            epoch=epoch,
            best=best,
            last_checkpoint=SavedCheckpoint(checkpoint, step, _now()),
        )

    def update(self, state: State, step: int, note: str = "") -> None:
        """Write how the run stands, and why."""
        self._write(state=state, step=step, note=note)

    def _write(self, **changes: Any) -> None:
        """Change the record, and the share of this process with it where it has begun."""
        with self._writing:
            record = replace(self.record, **changes)
            if self._began and record.processes:
                ended = None if record.state == "running" else _now()
                share = replace(record.processes[-1], last_step=record.step, ended=ended)
                record = replace(record, processes=(*record.processes[:-1], share))
            self.record = record
            write_text(self.path / RECORD, record_text(record))


def step_of(metrics: Path, best: BestValue, last: int) -> int | None:
    """Find the step of a value in a file of metrics, which keeps nine digits; the first one up to a last step."""
    try:
        with metrics.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                step, found = int(row["step"]), float(row.get(best.metric) or row.get("training/loss") or "nan")
                if step <= last and found == float(f"{best.value:.9g}"):
                    return step
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None
    return None


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole, replacing the one of before."""

    def put(stream: BinaryIO) -> None:
        stream.write(text.encode())

    atomic_write(path, put, overwrite=True)


def new_run(root: Path, identity: str, now: datetime | None = None, *, alone: bool = False) -> RunDirectory:
    """Make the directory of a new run, `root/YYYY-MM-DD/HH-MM-SS`, with a number behind it if that is taken.

    The run is returned locked: nobody else can take it for one to be continued. With `alone`, no other process may be
    working on a run of the same identity: raises ResumeError, as where that run had been found.
    """
    now = now or datetime.now().astimezone()
    make_folder(root)
    ordering = RunLock(root)
    ordering.attempt(waiting=True)  # where it can't be had, two runs may get the same number, and their times decide
    try:
        if ordering.held:
            clear_beginnings(root)
        runs = find_runs(root)
        if alone:
            _check_alone([run for run in runs if run.record.identity == identity and run.record.state == "running"])
        make_folder(root / now.strftime("%Y-%m-%d"))
        path = _make_numbered(root / now.strftime("%Y-%m-%d") / now.strftime("%H-%M-%S"))
        make_folder(path / "checkpoints")
        ordinal = 1 + max((run.record.ordinal for run in runs), default=0)
        created = now.isoformat(timespec="microseconds")
        directory = RunDirectory(path, RunRecord(secrets.token_hex(8), identity, created, ordinal))
        directory.acquire()  # before there is a record by which it is found
        try:
            directory.update("running", 0)
        except BaseException:
            directory.release()
            raise
        return directory
    finally:
        ordering.release()


def _check_alone(runs: list[RunDirectory]) -> None:
    """Refuse to start what another process has started since the runs were looked at; takes no lock for that."""
    for run in runs:
        owner = read_owner(run.path / OWNER)
        if owner is not None and standing(owner) != "ended":
            raise ResumeError(f"could not continue the run in '{run.path}': {Refusal(owner, WAIT)}")


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take their names away."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir()
        FileSystem().fsync_directory(folder.parent)


def _make_numbered(path: Path) -> Path:
    number = 1
    while True:
        numbered = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            numbered.mkdir()
        except FileExistsError:
            number += 1
        else:
            FileSystem().fsync_directory(numbered.parent)
            return numbered


def open_run(path: Path) -> RunDirectory | None:
    """Open an existing run's directory, or None where there is none."""
    record = read_record(path / RECORD)
    return None if record is None else RunDirectory(path, record)


def find_runs(root: Path) -> list[RunDirectory]:
    """List all runs below a root in the order of their starts."""
    found = [open_run(path.parent) for path in sorted(root.glob(f"*/*/{RECORD}"))]
    return sorted((run for run in found if run is not None), key=lambda run: order(run.record))


def order(record: RunRecord) -> tuple[int, str]:
    """Give the place of a run among those of its folder: by ordinal number, then, as of old runs, by time."""
    return record.ordinal, record.created


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
