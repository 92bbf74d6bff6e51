"""A background save gives the file of a direct one, in order, and none of its errors is lost."""

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.archive import FileSystem
from milepost.checkpoint import (
    BackgroundSaver,
    CheckpointRecord,
    background,
    list_checkpoints,
    load_checkpoint,
    mark_latest,
    save_checkpoint,
)
from milepost.checkpoint.staging import Copies
from milepost.errors import CommitError, OverwriteError, UnsavableError

RECORD = CheckpointRecord("run-1", 1, metadata={"nested": {"list": [1]}}, created="2026-01-01T00:00:00+00:00")
PATIENCE = 30.0


class Gated(FileSystem):
    """Note calls by file; make none before the gate is opened."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.reached = threading.Event()
        self.events: list[str] = []

    def create(self, path: Path) -> int:
        self.reached.set()
        if not self.gate.wait(PATIENCE):
            raise OSError(errno.ETIMEDOUT, "nobody opened the gate")
        self.events.append(f"create {path.name[1]}")
        return super().create(path)

    def fsync_directory(self, folder: Path) -> None:
        super().fsync_directory(folder)
        self.events.append("durable")


class Full(FileSystem):
    """A device without space."""

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimizer)
    return model, optimizer


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, before_step: Callable[[], None] = int) -> None:
    optimizer.zero_grad()
    model(torch.rand(8, 3, generator=torch.Generator().manual_seed(1))).square().mean().backward()
    before_step()
    optimizer.step()


def steady(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    moments = [value for state in optimizer.state.values() for value in state.values()]
    return [*model.parameters(), *moments]


def failed(saver: BackgroundSaver) -> None:
    """Wait until the save has ended, without asking how."""
    assert saver._last.saving is not None
    futures.wait([saver._last.saving], PATIENCE)


def value_in(path: Path) -> Any:
    with load_checkpoint(path) as checkpoint:
        assert checkpoint.verify() == []
        return checkpoint.state("x")


def test_the_file_is_that_of_a_direct_save_while_training_goes_on(tmp_path: Path):
    model, optimizer = trained()
    with BackgroundSaver() as saver:
        for step in range(3):
            state = {"model": model, "optimizer": optimizer, "loop": {"step": step, "best": (1, 2)}}
            arguments: dict[str, Any] = {"options_yaml": "seed: 1\n", "record": RECORD, "source": {"m.py": b"x = 1\n"}}
            save_checkpoint(tmp_path / f"direct-{step}", state, **arguments)
            saver.save(tmp_path / f"background-{step}", state, steady=steady(model, optimizer), **arguments)
            train(model, optimizer, saver.before_step)
    for step in range(3):
        assert (tmp_path / f"background-{step}").read_bytes() == (tmp_path / f"direct-{step}").read_bytes()


def test_what_changes_after_the_hand_over_is_not_in_the_file(tmp_path: Path):
    weight, extra = torch.zeros(3), torch.zeros(3)
    plain, record = {"list": [1, {"two": 2}]}, CheckpointRecord("r", 1, metadata={"list": [1]})
    filesystem = Gated()
    with BackgroundSaver(filesystem=filesystem) as saver:
        state = {"x": {"weight": weight, "extra": extra, "plain": plain}}
        saver.save(tmp_path / "a", state, record=record, steady=[weight])
        extra.fill_(1)
        plain["list"][1]["two"] = 3
        plain["list"].append(4)
        record.metadata["list"].append(2)
        state["x"]["more"] = 1
        saver.before_step()
        weight.fill_(1)
        filesystem.gate.set()
    found = value_in(tmp_path / "a")
    assert found["weight"].tolist() == found["extra"].tolist() == [0, 0, 0]
    assert found["plain"] == {"list": [1, {"two": 2}]}
    assert "more" not in found
    assert list_checkpoints(tmp_path)[0].record.metadata == {"list": [1]}


def test_steady_tensors_are_copied_after_the_hand_over_and_before_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    gate, events = threading.Event(), list[str]()
    run = Copies.run

    def gated(self: Copies) -> None:
        gate.wait(PATIENCE)
        events.append("copy")
        run(self)

    monkeypatch.setattr(Copies, "run", gated)
    weight = torch.zeros(3)
    with BackgroundSaver() as saver:
        saver.save(tmp_path / "a", {"x": weight}, steady=[weight])
        events.append("forward and backward")
        opening = threading.Timer(0.05, gate.set)
        opening.start()
        saver.before_step()
        events.append("step")
        weight.fill_(1)
        opening.join()
    assert events == ["forward and backward", "copy", "step"]
    assert value_in(tmp_path / "a").tolist() == [0, 0, 0]


def test_one_save_is_in_flight_and_the_next_waits_for_it(tmp_path: Path):
    filesystem = Gated()

    def then(path: Path, digest: str) -> None:
        filesystem.events.append(f"then {path.name}")

    with BackgroundSaver(filesystem=filesystem) as saver:
        saver.save(tmp_path / "a", {"x": 1}, then=then)
        assert filesystem.reached.wait(PATIENCE)
        opening = threading.Timer(0.05, filesystem.gate.set)
        opening.start()
        saver.save(tmp_path / "b", {"x": 2}, then=then)
        filesystem.events.append("handed over b")
        opening.join()
    assert filesystem.events.index("then a") < filesystem.events.index("handed over b")
    assert [event for event in filesystem.events if event != "handed over b"] == [
        "create a", "durable", "then a", "create b", "durable", "then b",
    ]  # fmt: skip


def test_the_continuation_gets_the_committed_file_in_the_savers_thread(tmp_path: Path):
    called: list[tuple[Path, str, str]] = []

    def then(path: Path, digest: str) -> None:
        with load_checkpoint(path) as checkpoint:
            assert checkpoint.digest == digest
        mark_latest(path)
        called.append((path, digest, threading.current_thread().name))

    with BackgroundSaver() as saver:
        saver.save(tmp_path / "a", {"x": 1}, record=RECORD, then=then)
        saver.wait()
        digest = save_checkpoint(tmp_path / "b", {"x": 1}, record=RECORD)
        assert [(path, digest) for path, digest, _ in called] == [(tmp_path / "a", digest)]
    assert called[0][2].startswith("milepost-saver")
    assert (tmp_path / "latest").read_text() == "a\n"


def test_what_a_checkpoint_refers_to_is_made_durable_first_in_the_savers_thread(tmp_path: Path):
    filesystem = Gated()
    filesystem.gate.set()

    def first() -> None:
        filesystem.events.append(f"first {threading.current_thread().name.partition('_')[0]}")

    with BackgroundSaver(filesystem=filesystem) as saver:
        saver.save(tmp_path / "a", {"x": 1}, first=first)
    assert filesystem.events == ["first milepost-saver", "create a", "durable"]


def test_nothing_is_written_when_what_must_come_first_fails(tmp_path: Path):
    def first() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    weight = torch.zeros(3)
    with BackgroundSaver() as saver:
        saver.save(tmp_path / "a", {"x": weight}, steady=[weight], first=first)
        with pytest.raises(OSError, match="No space left on device"):
            saver.wait()
        assert list(tmp_path.iterdir()) == []
        saver.save(tmp_path / "a", {"x": weight}, steady=[weight])
    assert value_in(tmp_path / "a").tolist() == [0, 0, 0]


def test_durability_and_overwriting_are_those_of_a_direct_save(tmp_path: Path):
    filesystem = Gated()
    filesystem.gate.set()
    with BackgroundSaver(durability="process", filesystem=filesystem) as saver:
        saver.save(tmp_path / "a", {"x": 1})
        saver.save(tmp_path / "a", {"x": 2}, overwrite=True)
        saver.wait()
        assert value_in(tmp_path / "a") == 2
        saver.save(tmp_path / "a", {"x": 3})
        with pytest.raises(OverwriteError):
            saver.wait()
        assert value_in(tmp_path / "a") == 2
    assert "durable" not in filesystem.events


CALLS: dict[str, Callable[[BackgroundSaver, Path], None]] = {
    "before_step": lambda saver, folder: saver.before_step(),
    "save": lambda saver, folder: saver.save(folder / "b", {"x": 1}),
    "wait": lambda saver, folder: saver.wait(),
    "close": lambda saver, folder: saver.close(),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_error_of_the_save_comes_out_of_the_next_call_once(tmp_path: Path, call: str):
    with BackgroundSaver(filesystem=Full()) as saver:
        saver.save(tmp_path / "a", {"x": 1})
        failed(saver)
        with pytest.raises(CommitError, match=r"could not write .*/a': No space left on device") as caught:
            CALLS[call](saver, tmp_path)
        assert caught.value.errno == errno.ENOSPC
        saver.before_step()
        saver.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_durability_that_there_is_not_is_refused_at_once():
    with pytest.raises(ValueError, match="expected durability 'power' or 'process', found 'Power'"):
        BackgroundSaver(durability="Power")  # type: ignore[arg-type]


def test_an_error_of_the_last_save_comes_out_at_the_end(tmp_path: Path):
    with pytest.raises(CommitError, match="No space left"), BackgroundSaver(filesystem=Full()) as saver:
        saver.save(tmp_path / "a", {"x": 1})
    saver.close()


def broken_loop(folder: Path, filesystem: FileSystem) -> None:
    with BackgroundSaver(filesystem=filesystem) as saver:
        saver.save(folder / "a", {"x": 1})
        raise ZeroDivisionError


def test_an_exception_of_the_loop_waits_for_the_commit(tmp_path: Path):
    filesystem = Gated()
    opening = threading.Timer(0.05, filesystem.gate.set)
    opening.start()
    with pytest.raises(ZeroDivisionError) as caught:
        broken_loop(tmp_path, filesystem)
    opening.join()
    assert value_in(tmp_path / "a") == 1
    assert not hasattr(caught.value, "__notes__")


def test_an_exception_of_the_loop_carries_the_error_of_the_save(tmp_path: Path):
    with pytest.raises(ZeroDivisionError) as caught:
        broken_loop(tmp_path, Full())
    assert "The last checkpoint was not saved either: CommitError: could not write" in caught.value.__notes__[0]


def test_an_error_of_the_continuation_comes_out_and_the_file_stays(tmp_path: Path):
    def then(path: Path, digest: str) -> None:
        raise LookupError("no such policy")

    with BackgroundSaver() as saver:
        saver.save(tmp_path / "a", {"x": 1}, then=then)
        with pytest.raises(LookupError, match="no such policy"):
            saver.wait()
    assert value_in(tmp_path / "a") == 1


def test_a_save_that_fails_early_ends_with_its_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate, copy = threading.Event(), Copies._copy

    def gated(self: Copies, target: torch.Tensor, source: torch.Tensor) -> None:
        gate.wait(PATIENCE)
        copy(self, target, source)

    monkeypatch.setattr(Copies, "_copy", gated)
    (tmp_path / "taken").touch()
    weight = torch.zeros(3)
    with BackgroundSaver() as saver:
        saver.save(tmp_path / "taken", {"x": weight}, steady=[weight])
        assert saver._last.saving is not None
        assert not futures.wait([saver._last.saving], 0.05).done
        gate.set()
        with pytest.raises(OverwriteError):
            saver.wait()


def test_an_error_of_a_copy_comes_out_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*arguments: object) -> None:
        raise MemoryError("full")

    weight = torch.zeros(3)
    monkeypatch.setattr(Copies, "_copy", fail)
    with BackgroundSaver() as saver:
        saver.save(tmp_path / "a", {"x": weight}, steady=[weight])
        saver._copies.join()
        with pytest.raises(MemoryError, match="full"):
            saver.wait()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_wait_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*arguments: object) -> None:
        monkeypatch.setattr(background, "wait_for", futures.wait)
        raise KeyboardInterrupt

    with BackgroundSaver(filesystem=Full()) as saver:
        saver.save(tmp_path / "a", {"x": 1})
        monkeypatch.setattr(background, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            saver.wait()
        with pytest.raises(CommitError):
            saver.wait()


def test_a_save_that_nobody_holds_is_finished_before_its_memory_is_used_again(tmp_path: Path):
    filesystem = Gated()
    opening = threading.Timer(0.05, filesystem.gate.set)
    with BackgroundSaver(filesystem=filesystem) as saver:
        saver.save(tmp_path / "a", {"x": torch.zeros(3)})
        saver._last.saving = None  # as an interrupt within save() would leave it
        opening.start()
        saver.save(tmp_path / "b", {"x": torch.ones(3)})
    opening.join()
    assert value_in(tmp_path / "a").tolist() == [0, 0, 0]
    assert value_in(tmp_path / "b").tolist() == [1, 1, 1]


def test_what_cannot_be_saved_is_refused_at_the_hand_over(tmp_path: Path):
    with BackgroundSaver() as saver:
        with pytest.raises(UnsavableError, match=r"could not save 'x\.when'"):
            saver.save(tmp_path / "a", {"x": {"when": object()}})
        saver.save(tmp_path / "a", {"x": 1})
    assert value_in(tmp_path / "a") == 1


def test_a_closed_saver_says_so_and_leaves_no_thread(tmp_path: Path):
    before = threading.enumerate()
    saver = BackgroundSaver()
    saver.save(tmp_path / "a", {"x": torch.zeros(3)})
    saver.close()
    saver.close()
    assert threading.enumerate() == before
    assert saver._buffers._buffers == {}
    with pytest.raises(ValueError, match=r"could not save .* the saver is closed"):
        saver.save(tmp_path / "b", {"x": 1})


def test_no_thread_is_started_before_it_is_needed():
    before = threading.enumerate()
    with BackgroundSaver() as saver:
        saver.before_step()
        saver.wait()
        assert threading.enumerate() == before


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from milepost.archive import FileSystem
from milepost.checkpoint import BackgroundSaver

class Deadly(FileSystem):
    deadly = False
    def write(self, descriptor, data):
        count = super().write(descriptor, data[: 1 if self.deadly else None])
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return count

filesystem = Deadly()
with BackgroundSaver(filesystem=filesystem) as saver:
    saver.save(Path(sys.argv[1]), {"x": torch.zeros(1000)})
    saver.wait()
    filesystem.deadly = True
    saver.save(Path(sys.argv[1]), {"x": torch.ones(1000)}, overwrite=True)
    saver.wait()
"""


def test_death_while_the_file_is_written_leaves_the_one_before(tmp_path: Path):
    path = tmp_path / "a.ckpt"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, check=False)
    assert done.returncode == -9, done.stderr.decode()
    assert value_in(path).tolist() == [0] * 1000
    assert len(list(tmp_path.iterdir())) == 2  # and a draft
    with BackgroundSaver() as saver:
        saver.save(path, {"x": torch.full((1000,), 2)}, overwrite=True)
    assert value_in(path).tolist() == [2] * 1000


UNCLOSED = """
import sys, time
from milepost.archive import FileSystem
from milepost.checkpoint import BackgroundSaver

class Slow(FileSystem):
    def create(self, path):
        time.sleep(0.2)
        return super().create(path)

saver = BackgroundSaver(filesystem=Slow())
saver.save(sys.argv[1], {"x": 1})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own")
def test_the_writer_gives_way_and_the_training_thread_keeps_its_priority(tmp_path: Path):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    found: list[int] = []

    def then(path: Path, digest: str) -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    with BackgroundSaver() as saver:
        saver.save(tmp_path / "a", {"x": 1}, then=then)
    assert found == [min(19, before + 10)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_program_that_ends_without_closing_still_commits(tmp_path: Path):
    path = tmp_path / "a.ckpt"
    subprocess.run([sys.executable, "-c", UNCLOSED, str(path)], check=True)
    assert value_in(path) == 1


LEFT = """
import sys
from milepost.checkpoint import BackgroundSaver, background

saver = BackgroundSaver()
saver.save(sys.argv[1], {"x": 1})
"""

INTERRUPTED = """
import sys
from milepost.checkpoint import BackgroundSaver, background

def interrupted(futures):
    raise KeyboardInterrupt

with BackgroundSaver() as saver:
    saver.save(sys.argv[1], {"x": 1})
    background.wait_for = interrupted
"""

TOLD = """
import sys
from milepost.checkpoint import BackgroundSaver

saver = BackgroundSaver()
try:
    saver.save(sys.argv[1], {"x": 1})
    saver.close()
except OSError as error:
    print("told", file=sys.stderr)
"""


@pytest.mark.parametrize(("program", "status"), [(LEFT, 0), (INTERRUPTED, -signal.SIGINT), (TOLD, 0)])
def test_a_program_that_ends_is_told_the_error_that_nobody_asked_for_once(tmp_path: Path, program: str, status: int):
    path = tmp_path / "no folder" / "a.ckpt"
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    assert done.stderr.count(f"'{path}': No such file or directory") == (program is not TOLD)
    assert done.stderr.count("was not closed: use it as a context manager") == (program is not TOLD)
    assert ("told" in done.stderr.splitlines()) == (program is TOLD)


def test_a_program_that_ends_well_is_told_nothing(tmp_path: Path):
    path = tmp_path / "a.ckpt"
    command = [sys.executable, "-c", LEFT, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert done.stderr == ""
    assert value_in(path) == 1


def test_a_saver_that_nobody_holds_any_more_leaves_nothing_behind(tmp_path: Path):
    saver = BackgroundSaver()
    saver.save(tmp_path / "a", {"x": 1})
    last = saver._last
    assert last.saving is not None
    futures.wait([last.saving], PATIENCE)
    gone = weakref.ref(saver)
    threads = [*saver._writer._threads, *saver._copier._threads]
    del saver
    for _ in range(1000):  # the thread may still be on its way out of the call that holds the saver
        gc.collect()
        if gone() is None:
            break
        time.sleep(0.01)
    for thread in threads:
        thread.join(PATIENCE)
    assert gone() is None
    assert last.saving is None
    assert not any(thread.is_alive() for thread in threads)


def test_many_saves_of_a_changing_state_are_each_of_their_moment(tmp_path: Path):
    weight, buffer = torch.zeros(50_000), torch.zeros(50_000)
    with BackgroundSaver(durability="process") as saver:
        for step in range(30):
            saver.save(tmp_path / str(step), {"x": {"weight": weight, "buffer": buffer}}, steady=[weight])
            buffer += 1
            time.sleep(0.001 * (step % 3))
            saver.before_step()
            weight += 1
    for step in range(30):
        found = value_in(tmp_path / str(step))
        assert bool((found["weight"] == step).all())
        assert bool((found["buffer"] == step).all())
