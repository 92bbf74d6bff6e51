"""Batches are the same whoever makes them, and nothing is left of those who did."""

import functools
import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch

from lifecycle.runs import differing
from milepost.checkpoint import RandomState
from milepost.errors import DataError
from milepost.run import batches as module
from milepost.run.batches import Batches
from milepost.run.order import BatchOrder


class Numbers:
    """Give batches that hold the numbers of their examples, and how many examples this process has read."""

    def __init__(self, count, failing=(), seconds=0.0):
        self.count, self.failing, self.seconds = count, set(failing), seconds
        self.read, self.begun = 0, None

    def __len__(self):
        return self.count

    def batch(self, indices, epoch=0):
        if self.begun is not None:
            self.begun.set()
        time.sleep(self.seconds)
        if self.failing & set(indices.tolist()):
            raise OSError("no such example")
        self.read += len(indices)
        return {"x": indices.clone(), "read": torch.tensor(self.read), "process": torch.tensor(os.getpid())}

    def describe(self, indices):
        return ", ".join(f"number {int(i)}" for i in indices)


def taken(batches, step):
    """Return the examples of a step, and those of each of its batches, as told and as made."""
    indices, made = batches(step)
    parts = [(own.tolist(), batch["x"].tolist()) for own, batch in made]
    assert [told for told, _ in parts] == [found for _, found in parts]
    assert [number for told, _ in parts for number in told] == indices.tolist()
    return [told for told, _ in parts]


@pytest.fixture(params=[0, 1, 2])
def workers(request):
    return request.param


def test_every_step_has_the_batches_of_the_order(workers):
    order = BatchOrder(5, 23, 4, accumulate=2)
    with Batches(Numbers(23), order, 9, workers) as batches:
        found = [taken(batches, step) for step in range(9)]
    assert found == [[part.tolist() for part in order.batches(step)] for step in range(9)]
    assert [len(part) for part in found[2]] == [4, 3], "the last step of an epoch"


def test_any_step_can_be_asked_for(workers):
    order = BatchOrder(5, 23, 4)
    with Batches(Numbers(23), order, 99, workers) as batches:
        for step in (40, 41, 3, 98, 3, 4):
            assert taken(batches, step) == [order.indices(step).tolist()]


def test_a_step_that_was_left_in_the_middle_begins_again(workers):
    order = BatchOrder(5, 23, 4, accumulate=3)
    with Batches(Numbers(23), order, 99, workers) as batches:
        _, made = batches(1)
        next(made)
        assert taken(batches, 1) == [part.tolist() for part in order.batches(1)]
        assert taken(batches, 2) == [part.tolist() for part in order.batches(2)]


@functools.cache
def millions():
    """Return the order of ten million examples, the longest part of these tests: it is sorted once."""
    return BatchOrder(0, 10**7, 8)


def test_a_late_step_reads_no_earlier_example(workers):
    """Ten million examples, seen from the millionth batch of the epoch on."""
    examples = Numbers(10**7)
    with Batches(examples, millions(), 10**6 + 2, workers) as batches:
        read = {}
        for step in (10**6, 10**6 + 1):
            _, made = batches(step)
            for _, batch in made:
                read[int(batch["process"])] = int(batch["read"])
    assert sum(read.values()) == 2 * 8
    assert examples.read == (0 if workers else 16)
    assert len(read) == max(1, workers)


def test_workers_live_from_step_to_step_also_when_nobody_asks_behind_the_last_batch():
    order = BatchOrder(5, 23, 4, accumulate=2)
    with Batches(Numbers(23), order, 99, 2) as batches:
        seen = []
        for step in range(4):
            for part, _ in enumerate(parts := batches(step)[1], start=1):
                if part == len(order.batches(step)):
                    break
            parts.close()
            seen.append(frozenset(child.pid for child in multiprocessing.active_children()))
    assert len(seen[0]) == 2
    assert set(seen) == {seen[0]}


def test_workers_leave_the_global_generators_alone(workers):
    random = RandomState()
    before = random.state_dict()
    with Batches(Numbers(23), BatchOrder(5, 23, 4), 9, workers) as batches:
        taken(batches, 0)
    assert differing(random.state_dict(), before) == []


def test_a_batch_that_cannot_be_made_is_named(workers):
    order = BatchOrder(5, 23, 4)
    wrong = int(order.indices(3)[1])
    with Batches(Numbers(23, failing=[wrong]), order, 9, workers) as batches:
        for step in range(3):
            taken(batches, step)
        with pytest.raises(DataError) as caught:
            taken(batches, 3)
    text = str(caught.value)
    assert text.startswith("could not make a batch of step 3: OSError: no such example.\n")
    assert f"holds the examples {order.indices(3).tolist()}: number " in text
    assert "--restart auto" in text


def test_signals_that_ask_to_stop_do_not_end_workers(monkeypatch):
    """They come before the workers have begun, and after."""
    begin = module._begin_work
    monkeypatch.setattr(module, "_begin_work", lambda worker: (time.sleep(0.3), begin(worker)))
    order, before = BatchOrder(5, 23, 4), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with Batches(Numbers(23), order, 30, 2) as batches:
        started = []
        for step in (0, 1):
            indices, made = batches(step)
            started.append([worker.pid for worker in multiprocessing.active_children()])
            for worker in started[-1]:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
                    os.kill(worker, number)
            assert [batch["x"].tolist() for _, batch in made] == [indices.tolist()]
        assert started[0] == started[1]
        assert [taken(batches, step) for step in range(30)] == [[order.indices(step).tolist()] for step in range(30)]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.slow
def test_a_worker_that_is_killed_is_missed():
    with Batches(Numbers(23), BatchOrder(5, 23, 4), 9999, 1) as batches:
        taken(batches, 0)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        worker.join()
        told = rf"found that {worker.pid} \(exit status -9\) ended(?s:.*)holds the examples"
        with pytest.raises(DataError, match=told):
            [taken(batches, step) for step in range(1, 10)]


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_looks_whether_to_end_holds_up_nobody(monkeypatch):
    """An event has a lock, which would never be let go."""
    looking = multiprocessing.get_context("fork").Pipe(duplex=False)

    class Slow(module._Flag):
        def is_set(self):
            if multiprocessing.parent_process() is not None:
                looking[1].send("looking")
                time.sleep(60)
            return super().is_set()

    monkeypatch.setattr(module, "_Flag", Slow)
    with Batches(Numbers(23), BatchOrder(5, 23, 4), 9999, 1) as batches:
        _, made = batches(0)
        assert looking[0].recv() == "looking"
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(DataError, match=rf"found that {worker.pid} \(exit status -9\) ended"):
            list(made)


@pytest.mark.parametrize("error", [ConnectionResetError("reset by peer"), EOFError(), RuntimeError("exited")])
def test_however_a_dead_worker_shows_it_is_named(monkeypatch, error):
    class Torn:
        def __next__(self):
            raise error

        def _shutdown_workers(self):
            pass

    with Batches(Numbers(23), BatchOrder(5, 23, 4), 9999, 1) as batches:
        _, made = batches(0)
        running, batches._made = batches._made, Torn()
        (worker,) = multiprocessing.active_children()
        threading.Timer(0.1, worker.kill).start()
        told = rf"found that {worker.pid} \(exit status -9\) ended: {type(error).__name__}"
        with pytest.raises(DataError, match=told):
            list(made)
        batches._made = running


def test_no_worker_outlives_an_error():
    batches = Batches(Numbers(23, failing=range(23)), BatchOrder(5, 23, 4), 9, 2)
    with pytest.raises(DataError), batches:
        taken(batches, 0)
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_busy_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    examples = Numbers(23, seconds=600.0)
    examples.begun = multiprocessing.get_context("fork").Event()
    with Batches(examples, BatchOrder(5, 23, 4), 9, 1) as batches:
        batches(0)
        examples.begun.wait()
    assert multiprocessing.active_children() == []


def test_the_handler_for_children_stays_the_programs_own():
    before = signal.getsignal(signal.SIGCHLD)
    with Batches(Numbers(23), BatchOrder(5, 23, 4), 9, 1) as batches:
        taken(batches, 0)
        assert signal.getsignal(signal.SIGCHLD) == before
