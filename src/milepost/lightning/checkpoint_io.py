"""Lightning's checkpoints as Milepost archives, saved in the background.

Promise: a Trainer waits for one copy in memory per save; a file has its name once it is whole and, with durability
"power", survives a power cut from then on; no older file goes before a newer one was committed and read back whole.
Needs: local files, and a strategy that saves through its CheckpointIO (one device, DDP; not the sharded ones).
Failure: UnsavableError from the save itself; an error of the background comes out of the next save or load, or when
the Trainer tears down, once. One of these is UnsupportedVersionError: a file of a newer version is not replaced.
"""

import uuid
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from milepost.archive import Durability, FileSystem
from milepost.checkpoint import (
    BackgroundSaver,
    CheckpointRecord,
    discard_drafts,
    environment,
    load_checkpoint,
    save_checkpoint,
)
from milepost.checkpoint.catalogue import check_replaceable
from milepost.errors import CommitError
from milepost.lightning.contents import REST, VERSION, components_of, options_text, read_checkpoint
from milepost.lightning.devices import device_of
from milepost.lightning.distribution import CheckpointIO, version, welcome
from milepost.lightning.retiring import Retirement

# What Lightning's handler of SLURM's signal saves just before it has the job stopped and queued again.
_REQUEUED = "hpc_ckpt_"


class MilepostCheckpointIO(CheckpointIO):
    """Save and load a Trainer's checkpoints as archives: `Trainer(plugins=[MilepostCheckpointIO()])`.

    `durability` is "power" or "process", as for `save_checkpoint`. With `background=False`, and for saves after the
    Trainer's run has ended, a save returns when its file is committed. The callback `ExactResume` adds the random
    state and names the run; without it a process is a run of its own, or continues that of the file that it loads.
    """

    def __init__(self, *, durability: Durability = "power", background: bool = True) -> None:
        super().__init__()
        if durability not in get_args(Durability):
            raise ValueError(
                f"could not build MilepostCheckpointIO: expected a durability of {get_args(Durability)}, "
                f"found {durability!r}"
            )
        welcome(type(self))
        self.run_id = uuid.uuid4().hex
        self._durability: Durability = durability
        self._background = background
        self._metrics: Callable[[], Mapping[str, float]] | None = None
        self._retirement = Retirement()
        self._saver: BackgroundSaver | None = None
        self._finalizer: Any = None
        self._in_flight = False
        self._between_runs = False
        self._handing_over = False

    def begin_run(self, run_id: str, metrics: Callable[[], Mapping[str, float]]) -> None:
        """Save for this run from now on, in the background again; `metrics` gives the latest values by name."""
        self.run_id, self._metrics, self._between_runs = run_id, metrics, False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any = None) -> None:
        """Save what the Trainer hands over as one file, replacing one of that name.

        Waits for the save before and raises its error. What a killed process left of a file of that name is removed.
        Raises UnsavableError naming the value that has no plain
        form, CommitError where the folder can't be made, and TypeError for `storage_options`.
        """
        if storage_options is not None:
            raise TypeError(
                f"could not save '{path}': expected no storage_options, found {storage_options!r}. Leave them out."
            )
        target = _local(path)
        if self._handing_over:  # a signal's handler saves, in the middle of a save
            self._commit(target, checkpoint, check_replaceable)
            return
        self._handing_over = True
        try:
            self.wait()
            _make_folder(target.parent, self._durability)
            if not self._background or self._between_runs or target.name.startswith(_REQUEUED):
                self._commit(target, checkpoint, _prepare)
            else:
                self._hand_over(target, checkpoint)
        finally:
            self._handing_over = False

    def load_checkpoint(
        self, path: Path | str, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return the dict that was saved, verified; opening a file runs no code, whatever `weights_only` says.

        Tensors come to host memory, or where `map_location` puts what was saved there. Raises NotAnArchiveError for
        a file of Lightning's own, with the command that converts it, and the rest of the ArchiveError family.
        """
        self.wait()
        source = _local(path)
        checkpoint = read_checkpoint(source, device_of(map_location))
        if self._metrics is None and not self._retirement.has_successor:
            with load_checkpoint(source) as opened:
                self.run_id = opened.record.run_id or self.run_id
        return checkpoint

    def remove_checkpoint(self, path: Path | str) -> None:
        """Remove this run's file once the newest save is committed and was read back whole; never before.

        A file of another run or of another kind is left alone. Errors come out where those of saving do.
        """
        self._retirement.request(_local(path))
        if not self._in_flight:
            self._retirement.carry_out(self.run_id)

    def wait(self) -> None:
        """Return when the last save is committed and what it replaces is removed; raises its error."""
        committed = False
        try:
            if self._saver is not None:
                self._saver.wait()
            committed = True
        finally:
            self._in_flight = False
            if not committed:
                self._retirement.forget()  # what was to be replaced by the file that failed
        self._retirement.carry_out(self.run_id)

    def teardown(self) -> None:
        """Wait for the last save, end the thread, and free the memory; raises the save's error."""
        self._between_runs = True
        if self._saver is None:
            return
        saver, self._saver = self._saver, None
        self._finalizer.detach()
        try:
            saver.close()
            self._retirement.carry_out(self.run_id)
        finally:
            self._retirement.forget()
            self._in_flight = False

    def _hand_over(self, path: Path, checkpoint: Mapping[str, Any]) -> None:
        content = self._content(checkpoint)
        if self._saver is None:
            self._saver = BackgroundSaver(durability=self._durability)
            # A process that ends without a teardown shows the error of its last save.
            self._finalizer = weakref.finalize(self, self._saver.close)
        self._in_flight, handed_over = True, False  # before the save, whose thread may be done before it returns
        try:
            self._saver.save(path, **content, overwrite=True, first=partial(_prepare, path), then=self._committed)
            handed_over = True
        finally:
            if not handed_over:
                self._in_flight = False

    def _committed(self, path: Path, digest: str) -> None:
        """Retire, in the saver's thread, what is asked for until it says that it is done, and what came meanwhile."""
        self._retirement.committed(path)
        self._retirement.carry_out(self.run_id)
        self._in_flight = False
        self._retirement.carry_out(self.run_id)

    def _commit(self, path: Path, checkpoint: Mapping[str, Any], prepare: Callable[[Path], None]) -> None:
        prepare(path)
        save_checkpoint(path, **self._content(checkpoint), overwrite=True, durability=self._durability)
        self._retirement.committed(path)

    def _content(self, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        components = components_of(checkpoint)
        record = CheckpointRecord(
            self.run_id,
            int(checkpoint.get("global_step", 0)),
            epoch=_completed_epochs(checkpoint),
            metrics=_metrics(checkpoint) | (dict(self._metrics()) if self._metrics else {}),
            environment=environment(_device(components.get("model"))) | {"lightning": version()},
            versions={REST: VERSION},
        )
        return {"state": components, "options_yaml": options_text(components), "record": record}


def _local(path: Path | str) -> Path:
    if "://" in str(path):
        raise ValueError(
            f"could not use '{path}' as a checkpoint: expected a local path, found a URL. "
            "Save to a local folder and copy the file."
        )
    return Path(path)


def _prepare(path: Path) -> None:
    """Make way for a file: no save of this process is under way, and no other one may save under this name."""
    check_replaceable(path)
    discard_drafts(path.parent, path.name)


def _make_folder(folder: Path, durability: Durability) -> None:
    """Make a folder and its parents; each new name survives a power cut as the files in it do."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if durability == "power":
            for place in reversed(missing):
                FileSystem().fsync_directory(place.parent)
    except OSError as error:
        failure = CommitError(f"could not make the folder '{folder}': {error.strerror or error}. Choose another one.")
        failure.errno = error.errno
        raise failure from error


def _completed_epochs(checkpoint: Mapping[str, Any]) -> int:
    """Count the epochs that are over; Lightning's own `epoch` is one less at an epoch's end."""
    loops = checkpoint.get("loops") or {}
    progress = loops.get("fit_loop", {}).get("epoch_progress", {}).get("current", {})
    return int(progress.get("processed", checkpoint.get("epoch", 0)))


def _metrics(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """Find the monitored values in the states of the callbacks that choose what to keep."""
    found: dict[str, float] = {}
    for state in (checkpoint.get("callbacks") or {}).values():
        if isinstance(state, Mapping) and state.get("monitor") and state.get("current_score") is not None:
            found[str(state["monitor"])] = float(state["current_score"])
    return found


def _device(state: Any) -> torch.device:
    values = state.values() if isinstance(state, Mapping) else ()
    return next((value.device for value in values if isinstance(value, torch.Tensor)), torch.device("cpu"))
