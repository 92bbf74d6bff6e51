"""Training state → file, while training goes on.

Promise: the training thread waits for one copy in memory at most, and normally for nothing; files are those of
`save_checkpoint`, byte for byte; one save is in flight at a time, in memory of one state.
Needs: one training thread, which calls `before_step` before anything changes a tensor that it called steady.
Failure: an error of a save comes out of the next call, once, or is printed when the process ends; see
`BackgroundSaver`.
"""

import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType

from torch import Tensor

from milepost.archive import ArchivePlan, Durability, FileSystem, Tree, write_plan
from milepost.archive.commit import check_durability
from milepost.checkpoint.record import CheckpointRecord
from milepost.checkpoint.saving import plan_checkpoint
from milepost.checkpoint.staging import Copies, StagingBuffers
from milepost.checkpoint.stateful import Stateful

# Ten steps of niceness leave the training about nine tenths of a core that both want, and the file is still written
# within seconds (weights of the scheduler: 1024 and 110, kernel/sched/core.c of Linux, sched_prio_to_weight).
_NICER = 10

Preparation = Callable[[], None]
Continuation = Callable[[Path, str], None]


@dataclass
class _Last:
    """Hold the save that nobody has asked for yet, apart from its saver: it outlives one that is never closed."""

    saving: Future[None] | None = None

    def tell(self) -> None:
        """Raise the error that nobody was told."""
        saving, self.saving = self.saving, None
        error = None if saving is None or not saving.done() else saving.exception()
        if error is not None:
            error.add_note("The BackgroundSaver of this checkpoint was not closed: use it as a context manager.")
            raise error


class BackgroundSaver:
    """Save checkpoints in a thread of its own; use it as a context manager, around the training loop.

    An error of a save (CommitError, OverwriteError, or what `first` or `then` raised) comes out of the next call of
    `before_step`, `save`, `wait` or `close`, exactly once. At the end of the `with` block the last save is waited
    for, also when the block raised: then an error of the save is added to that exception as a note. A saver that is not
    closed finishes its last save when the process ends; its error is printed then.
    """

    def __init__(self, *, durability: Durability = "power", filesystem: FileSystem | None = None) -> None:
        check_durability(durability)
        self._durability: Durability = durability
        self._filesystem = filesystem
        self._buffers = StagingBuffers()
        self._copier = ThreadPoolExecutor(max_workers=1, thread_name_prefix="milepost-copier")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="milepost-saver", initializer=_give_way)
        self._copies: Copies | None = None
        self._last = _Last()
        # At exit, this runs once the threads have ended; before, when the saver is collected with nothing under way.
        weakref.finalize(self, self._last.tell)
        self._handed = self._finished = 0
        self._closed = False

    def __enter__(self) -> "BackgroundSaver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"The last checkpoint was not saved either: {type(failure).__name__}: {failure}")

    def save(
        self,
        path: Path | str,
        state: Mapping[str, Stateful | Tree],
        *,
        options_yaml: str = "",
        record: CheckpointRecord | None = None,
        source: Mapping[str, bytes] = MappingProxyType({}),
        overwrite: bool = False,
        steady: Iterable[Tensor] = (),
        first: Preparation | None = None,
        then: Continuation | None = None,
    ) -> None:
        """Hand over a checkpoint as it is now; the arguments are those of `save_checkpoint`.

        Waits for the save before this one. `steady` are tensors that nothing changes until `before_step` is called
        (parameters, moments of the optimizer, averages): what lies in their memory is copied while the next forward
        and backward run, everything else before this returns. `first()` is called in the saver's thread before the
        file is begun: it may make durable what the checkpoint refers to, and where it raises, nothing is written.
        `then(path, digest)` is called there once the file is committed; it may mark or retire files.

        Raises UnsavableError for a value that has no place in a file, ValueError when closed, and the error of the
        save before; in each case nothing is handed over.
        """
        if self._closed:
            raise ValueError(f"could not save '{path}': the saver is closed. Make a new one.")
        self.wait()
        if self._handed != self._finished:  # a call that a signal ended may have left a save that nobody holds
            self._writer.submit(_idle).result()
            self._handed = self._finished
        plan = plan_checkpoint(state, options_yaml=options_yaml, record=record, source=source)
        staged, copies = self._buffers.stage(plan, steady)
        self._handed += 1
        self._copier.submit(copies.run)
        self._last.saving = self._writer.submit(self._commit, Path(path), staged, copies, overwrite, first, then)
        self._copies = copies

    @property
    def idle(self) -> bool:
        """Whether no save is under way, and no error of one is left to be told."""
        return self._last.saving is None and self._copies is None

    def before_step(self) -> None:
        """Wait until steady tensors may be changed: call this before each step of the optimizer.

        Work that this thread enqueues on CUDA devices afterwards waits there, not here. Raises the error of a save
        that has failed by now.
        """
        if self._copies is not None:
            self._copies.join()
            self._copies = None
        if self._last.saving is not None and self._last.saving.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the last save is committed and its `then` has returned; raises its error."""
        saving = self._last.saving
        if saving is None:
            return
        wait_for([saving])  # if this is interrupted, the outcome stays to be asked for
        self._last.saving = self._copies = None
        saving.result()

    def close(self) -> None:
        """Wait for the last save, stop the threads and free the memory; raises the save's error."""
        self._closed = True
        try:
            self.wait()
        finally:
            self._writer.shutdown()
            self._copier.shutdown()
            self._buffers.clear()

    def _commit(
        self,
        path: Path,
        plan: ArchivePlan,
        copies: Copies,
        overwrite: bool,
        first: Preparation | None,
        then: Continuation | None,
    ) -> None:
        try:
            if first is not None:
                first()
            manifest = write_plan(
                path,
                plan,
                ready=copies.wait_for,
                durability=self._durability,
                overwrite=overwrite,
                filesystem=self._filesystem,
            )
            if then is not None:
                then(path, manifest.digest)
        finally:
            copies.settle()  # the next save uses the same memory, also where this one failed early
            self._finished += 1


def _give_way() -> None:
    """Let the training go first where both want a core: on Linux, where threads have priorities of their own."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a wish, not a need
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)


def _idle() -> None:
    """Do nothing, once the thread has nothing else to do."""
