"""Save a run's checkpoints while it trains, and retire those that its options no longer keep.

Promise: when `wait` returns, what was handed over is committed, marked as the latest and noted in `run.json`, or there
was no space for it (see `milepost.run.shortage`); only this run's own files are ever retired, and none before its
successor was read back whole. The rows of `metrics.csv` that a checkpoint counts are on the device before it.
Failure: any other error of a save comes out of the next call; see `milepost.checkpoint.BackgroundSaver`. A file of a
newer version or of another run is never replaced: UnsupportedVersionError, OverwriteError.
"""

import json
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from milepost.checkpoint import (
    BackgroundSaver,
    CheckpointRecord,
    KeepBest,
    KeepLast,
    KeepPolicy,
    Segment,
    checkpoint_name,
    list_checkpoints,
    mark_latest,
    retire,
)
from milepost.checkpoint.catalogue import check_replaceable
from milepost.learning import LearnerSpec
from milepost.model import Architecture, captured_source
from milepost.options import CheckpointsOptions, RootOptions, TrainingOptions, expanded_yaml
from milepost.run.course import Course
from milepost.run.deadline import Deadline
from milepost.run.directory import RunDirectory, write_text
from milepost.run.record import BestValue
from milepost.run.rollback import Intervals, KeepForRollback, kept_for
from milepost.run.session import TrainingState
from milepost.run.shortage import Shortage
from milepost.run.task_files import TaskFiles
from milepost.run.trained import PREDICTS

LEFT_OUT = "left-out.json"
"""File of a run that says which steps were left out because they diverged."""


@dataclass(frozen=True)
class Origin:
    """Hold what every checkpoint of a process says about where it comes from: the same from first to last.

    `learner` is None for one that keeps nothing.
    """

    options: RootOptions
    architecture: Architecture
    facts: Mapping[str, Any]
    split: Mapping[str, Any]
    parents: tuple[str, ...]
    lineage: tuple[Segment, ...]
    course: Course
    learner: LearnerSpec | None
    task_files: TaskFiles | None = None

    def learner_version(self) -> dict[str, int]:
        """Return the version of the learner's state, where it has one."""
        return {} if self.learner is None else {self.learner.version_key: self.learner.version}


class Checkpoints:
    """Save and retire the checkpoints of one run; use it as a context manager, around the training loop.

    `last_saved` is the newest checkpoint that is committed, `saved_step` its step; None where there is none.
    """

    def __init__(
        self,
        directory: RunDirectory,
        state: TrainingState,
        origin: Origin,
        shortage: Shortage,
        last_saved: Path | None = None,
    ) -> None:
        self.directory, self.state, self.origin, self.shortage = directory, state, origin, shortage
        self.last_saved = last_saved
        self.saved_step = None if last_saved is None else state.position.step
        self.deadline: Deadline | None = None
        self._handed: tuple[int, dict[str, float]] | None = None  # the last one handed over: step and metrics
        self._options: CheckpointsOptions = origin.options.checkpoints
        self._options_yaml = expanded_yaml(origin.options)
        self._source = {k.removeprefix("source/"): v for k, v in captured_source(origin.architecture).items()}
        self._saver = BackgroundSaver(durability=self._options.durability)

    def __enter__(self) -> "Checkpoints":
        if self.last_saved is not None and self._is_own(self.last_saved):
            self._put_task_file(self.last_saved)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._saver.__exit__(kind, error, trace)

    def save(self, metrics: dict[str, float]) -> None:
        """Hand over a checkpoint, with the metrics of this very step, to be committed while training goes on."""
        self.wait()
        step, began = self.state.position.step, time.monotonic()
        self._handed = step, metrics
        best = self._best(step, metrics)
        path = self.directory.checkpoints / checkpoint_name(step)
        self._saver.save(
            path,
            {**self.state.components(), "facts": dict(self.origin.facts), "split": dict(self.origin.split)},
            options_yaml=self._options_yaml,
            record=self._record(step, metrics),
            source=self._source,
            overwrite=True,
            steady=self.state.steady(),
            first=lambda: self._prepare(path),
            then=lambda path, digest: self._committed(path, step, began, best),
        )

    def _prepare(self, path: Path) -> None:
        """Make sure of what a checkpoint refers to, and that its name is not that of a file which nobody could miss."""
        check_replaceable(path, self.directory.record.run_id)
        self.state.metrics.sync(durable=self._options.durability == "power")

    def before_step(self) -> None:
        """Wait until the weights may change again."""
        if not self._saver.idle:
            with self._shortage_outlived():
                self._saver.before_step()
        self._report()

    def wait(self) -> None:
        """Wait until the last checkpoint is committed, or found no space."""
        with self._shortage_outlived():
            self._saver.wait()
        self._report()

    def complete(self) -> bool:
        """Wait until the last state that was handed over is committed; tell whether it is.

        Where there is no space, that is waited for, but not for ever; nothing may have changed since the hand-over.
        """
        self.wait()
        if self._handed is None:
            self._settle()
        return self._handed is None or self._committed_last() or self.shortage.waited_out(self._tried_again)

    def _tried_again(self) -> bool:
        self.save({} if self._handed is None else self._handed[1])
        self.wait()
        return self._committed_last()

    def _committed_last(self) -> bool:
        return self._handed is not None and self.saved_step == self._handed[0]

    def _shortage_outlived(self) -> AbstractContextManager[None]:
        what = "a checkpoint" if self._handed is None else f"the checkpoint of step {self._handed[0]}"
        return self.shortage.outlived(what, self.directory.checkpoints, self._size)

    def _size(self) -> int:
        """Return about how many bytes a checkpoint takes."""
        return sum(tensor.nbytes for tensor in self.state.steady())

    def _report(self) -> None:
        self.shortage.report(f"step {self.saved_step}")

    def last_good(self, step: int) -> str:
        """Name the furthest checkpoint from which a finite step was taken, seen from a step that was not."""
        self.wait()
        run_id = self.directory.record.run_id
        earlier = [e for e in list_checkpoints(self.directory.checkpoints) if e.run_id == run_id and e.step < step]
        return str(earlier[-1].path) if earlier else "none: no step was taken from a saved state"

    def _best(self, step: int, metrics: dict[str, float]) -> BestValue | None:
        """Give the best value so far, with this step where it was found there and not before."""
        name, best = self._options.monitor, self.state.best
        here = metrics.get(name) == best.value and best.waited == 0
        return None if best.value is None else BestValue(name, best.value, step if here else None)

    def _committed(self, path: Path, step: int, began: float, best: BestValue | None) -> None:
        """Note a checkpoint that is safe, then retire what the policy no longer keeps."""
        self.shortage.over()
        self.last_saved, self.saved_step = path, step
        self._note(path, step, best)
        if self.deadline is not None:
            self.deadline.saved(time.monotonic() - began)

    def _settle(self) -> None:
        """Do for the checkpoint that the run was continued from what a process that was killed may not have done."""
        path, step = self.last_saved, self.saved_step
        if path is not None and step is not None and self._is_own(path):
            self._note(path, step, self._best(step, {}))

    def _is_own(self, path: Path) -> bool:
        return path.parent.samefile(self.directory.checkpoints)

    def _put_task_file(self, path: Path, step: int | None = None) -> None:
        """Make the file of a task of a checkpoint in which one ends; by default of that at the state's own step."""
        leg = self.origin.course.ended(self.state.position.step if step is None else step)
        if self.origin.task_files is not None and leg is not None and leg.ends:
            with self.shortage.outlived(f"the file of task {leg.task}", self.origin.task_files.folder):
                self.origin.task_files.ended(path, leg.task, self.directory.record.run_id)

    def _note(self, path: Path, step: int, best: BestValue | None) -> None:
        with self.shortage.outlived("which checkpoint is the latest", path.parent):
            mark_latest(path)
        self._put_task_file(path, step)
        retire(self.directory.checkpoints, self.directory.record.run_id, self._kept(), path)
        with self.shortage.outlived("the state of the run", self.directory.path):
            self.directory.saved(path.name, step, self.origin.course.epoch(step), best)
            if self.state.skipped.skips:
                skips = self.state.skipped.state_dict()["skips"]
                write_text(self.directory.path / LEFT_OUT, json.dumps(skips) + "\n")

    def _kept(self) -> list[KeepPolicy]:
        options, training = self._options, cast(TrainingOptions, self.origin.options.architecture.training)
        keep: list[KeepPolicy] = [
            KeepLast(options.keep_last),
            KeepBest(options.keep_best, options.monitor, options.mode),
        ]
        if training.on_nan == "rollback":
            intervals = Intervals(options, self.origin.course.epoch)
            keep.append(KeepForRollback(kept_for(training.rollback_checkpoints), intervals))
        return keep

    def _record(self, step: int, metrics: dict[str, float]) -> CheckpointRecord:
        origin, architecture, learner = self.origin, self.origin.architecture, self.origin.learner
        skipped = [str(skip) for skip in self.state.skipped.skips]
        return CheckpointRecord(
            run_id=self.directory.record.run_id,
            step=step,
            epoch=origin.course.epoch(step),
            task=origin.course.task(step),
            parents=origin.parents,
            metrics=metrics,
            metadata={"architecture": architecture.name, "metadata": {}}
            | ({"left out": skipped} if skipped else {})
            | ({PREDICTS: learner.name} if learner is not None and learner.predictor is not None else {}),
            environment=origin.lineage[-1].environment,
            lineage=origin.lineage,
            versions={architecture.name: architecture.version, **origin.learner_version()},
        )
