"""Make the batches of a step, in this process or by worker processes ahead of time.

Promise: the batches of a step are the same however many processes make them, and wherever a run starts: an item of
work is a list of example numbers, told here, and a batch is a pure function of it. No example is read that an earlier
step took. No global random generator is touched. Workers are deaf to the signals that ask a run to stop, and are gone
when the `with` block is left.
Needs: data sets whose `batch` does the same in a forked process: nothing on an accelerator.
Failure: DataError naming step and examples where a batch can't be made, and where a worker was killed.
"""

import mmap
import multiprocessing
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkContext
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from milepost.errors import DataError
from milepost.learning import Batch, DataSet
from milepost.run.signals import STOPPING, ignore_stop_signals

AHEAD = 2
"""Batches that every worker makes ahead of the one that is wanted: as torch's own loader does by default."""

PATIENCE = 1.0
"""Seconds that a worker has to finish its batch when the run ends; a scheduler's grace period may be short."""


class _Flag:
    """Stand for an event between processes, without the lock that one has: a process that is killed while it holds that
    lock, if only to look at the event, holds up all others for ever.
    """

    def __init__(self) -> None:
        self._byte = mmap.mmap(-1, 1)  # shared with processes that are forked later

    def set(self) -> None:
        self._byte[0] = 1

    def is_set(self) -> bool:
        return self._byte[0] != 0


class _Forking(ForkContext):
    """Fork processes, and give them flags where they ask for events: a loader only sets its own and looks at it."""

    def Event(self) -> Any:
        return _Flag()


class _Unmade(Exception):
    """Say why a worker could not make a batch; the loader carries it over, with a traceback around it."""

    @property
    def reason(self) -> str:
        return str(self).rpartition(f"{_Unmade.__name__}: ")[2].strip()


class Order(Protocol):
    """Tell the examples of every step, as `Course` and `BatchOrder` do."""

    def batches(self, step: int) -> tuple[Tensor, ...]:
        """Return the examples of each batch of a step."""
        ...

    def epoch(self, step: int) -> int:
        """Return the epoch that a step belongs to."""
        ...

    def horizon(self, step: int) -> int:
        """Return the step up to which batches can be made ahead of time."""
        ...


class _Work:
    """Make a batch of a list of example numbers: what a worker does."""

    def __init__(self, examples: DataSet) -> None:
        self.examples = examples

    def __getitem__(self, item: Any) -> Batch:
        numbers, epoch = item
        try:
            return self.examples.batch(torch.from_numpy(numbers), epoch)
        except Exception as error:
            raise _Unmade(f"{type(error).__name__}: {error}") from error


class Batches:
    """Give the batches of one step after another; use it as a context manager.

    Called with a step, it returns the numbers of the step's examples, and an iterator over its batches, each with the
    numbers of its own. Any step can be asked for; the next one is what workers are ahead with.
    """

    def __init__(self, examples: DataSet, order: Order, total_steps: int, workers: int = 0) -> None:
        self.examples, self.order = examples, order
        self.total_steps, self.workers = total_steps, workers
        self._made: Iterator[Batch] | None = None
        self._processes: Sequence[BaseProcess] = ()
        self._ahead: deque[tuple[Tensor, ...]] = deque()
        self._next: int | None = None
        self._until = 0  # where the workers that there are come to an end

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *ending: object) -> None:
        self.close()

    def __call__(self, step: int) -> tuple[Tensor, Iterator[tuple[Tensor, Batch]]]:
        """Return the examples of a step, and its batches; taking one raises DataError where it can't be made."""
        parts = self._examples_of(step)
        return parts[0] if len(parts) == 1 else torch.cat(parts), self._taken(step, parts)

    def _taken(self, step: int, parts: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, Batch]]:
        for number, indices in enumerate(parts, start=1):
            batch = self._batch(step, indices)
            if number == len(parts):  # now: whoever has the last one need not ask for another
                self._next = step + 1
            yield indices, batch

    def close(self) -> None:
        """End the workers; batches that they made ahead are dropped."""
        made, self._made, self._next = self._made, None, None
        self._ahead.clear()
        if made is None:
            return
        late = threading.Timer(PATIENCE, self._kill)
        late.start()
        try:
            # A traceback may hold on to the iterator, so that it is not enough to drop it.
            made._shutdown_workers()  # type: ignore[attr-defined]
        finally:
            late.cancel()
            late.join()
            self._kill()
            for process in self._processes:
                process.join(PATIENCE)
            self._processes = ()

    def _kill(self) -> None:
        """End workers that are still busy with a batch that nobody wants."""
        for process in self._processes:
            process.kill()

    def _examples_of(self, step: int) -> tuple[Tensor, ...]:
        """Return the examples of each batch, and see to it that workers are at that step."""
        if not self.workers:
            return self.order.batches(step)
        if self._made is None or self._next != step or step >= self._until:
            self.close()
            self._start(step)
        self._next = None  # until the last batch of this step was taken
        return self._ahead.popleft()

    def _batch(self, step: int, indices: Tensor) -> Batch:
        if self._made is None:
            try:
                return self.examples.batch(indices, self.order.epoch(step))
            except Exception as error:
                raise self._unmade(step, indices, f"{type(error).__name__}: {error}") from error
        try:
            return next(self._made)
        except _Unmade as error:
            raise self._unmade(step, indices, error.reason) from error
        except (RuntimeError, OSError, EOFError) as error:  # the last two where it dies before it is known to be dead
            raise self._killed(step, indices, f"{type(error).__name__}: {error}") from error

    def _start(self, first: int) -> None:
        """Start the workers, on the batches from a step on."""
        self._until = min(self.total_steps, self.order.horizon(first))
        before = set(multiprocessing.active_children())
        with _starting_workers():
            loader = DataLoader(
                _Work(self.examples),  # type: ignore[arg-type]
                sampler=self._numbers(first),  # type: ignore[arg-type]
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=AHEAD,
                worker_init_fn=_begin_work,
                multiprocessing_context=_Forking(),
                generator=torch.Generator(),  # or it would draw a number from the global one
            )
            self._made = iter(loader)
        self._processes = [child for child in multiprocessing.active_children() if child not in before]

    def _numbers(self, first: int) -> Iterator[Any]:
        """Yield the example numbers of every batch, in order, and remember what was handed out."""
        for step in range(first, self._until):
            batches = self.order.batches(step)
            self._ahead.append(batches)
            for indices in batches:
                yield indices.numpy(), self.order.epoch(step)

    def _unmade(self, step: int, indices: Tensor, reason: str) -> DataError:
        return DataError(
            f"could not make a batch of step {step}: {reason}.\n"
            f"  The batch holds the examples {indices.tolist()}: {self.examples.describe(indices)}.\n"
            "Look at these examples; once they can be read, continue with --restart auto."
        )

    def _killed(self, step: int, indices: Tensor, reason: str) -> DataError:
        until = time.monotonic() + PATIENCE
        while all(p.exitcode is None for p in self._processes) and time.monotonic() < until:
            time.sleep(0.01)
        ended = [f"{p.pid} (exit status {p.exitcode})" for p in self._processes if p.exitcode is not None]
        return DataError(
            f"could not make a batch of step {step}: expected {self.workers} worker processes at work, found that "
            f"{', '.join(ended) or 'none'} ended: {reason}.\n"
            f"  The batch holds the examples {indices.tolist()}: {self.examples.describe(indices)}.\n"
            "A system that is short of memory kills processes: continue with --restart auto and fewer "
            "architecture.training.loader_workers."
        )


def _begin_work(worker: int) -> None:
    ignore_stop_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


@contextmanager
def _starting_workers() -> Iterator[None]:
    """Start a loader without what it does to this process, and without a moment in which a signal ends a worker.

    Signals wait until a worker ignores them: it inherits which ones are blocked. The loader would raise an error in the
    middle of anything when a worker dies: that is noticed all the same, where its batch is waited for. It warns of more
    workers than processors, which the user has chosen; and Python 3.12 of a fork beside threads, of which the workers
    use nothing.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGCHLD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module="torch.utils.data")
            warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
            yield
    finally:
        if main:
            signal.signal(signal.SIGCHLD, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
