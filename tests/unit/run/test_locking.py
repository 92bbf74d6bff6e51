"""One process at a time, whatever the file system can do, and the one that has the lock is named."""

import contextlib
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from milepost.errors import ResumeError
from milepost.run import locking
from milepost.run.locking import LOCK, OWNER, PATIENCE, RunLock, kernel_lock
from milepost.run.owner import owner_text, read_owner, this_process

ELSEWHERE = {"host": "n042", "boot": "another", "pid": 4711}


def no_lock(descriptor: int) -> None:
    """Be a file system that has no locks."""
    raise OSError(errno.ENOLCK, "No locks available")


def both(test):
    """Run a test with the kernel's locks and without."""
    return pytest.mark.parametrize("lock", [kernel_lock, no_lock], ids=["kernel", "record"])(test)


@pytest.fixture
def acquired():
    """Acquire locks that are given back at the end."""
    with contextlib.ExitStack() as stack:

        def acquire(folder: Path, patience: float = 0, **keywords) -> RunLock:
            lock = RunLock(folder, **keywords)
            lock.acquire("train", patience)
            stack.callback(lock.release)
            return lock

        yield acquire


def record(folder: Path, **changes) -> None:
    """Leave the record of another process."""
    (folder / OWNER).write_text(owner_text(dataclasses.replace(this_process(), **changes)))


HOLD = """
import errno, pathlib, sys, time
from milepost.run.locking import RunLock, kernel_lock
def no_lock(descriptor):
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")
lock = RunLock(pathlib.Path({folder!r}), lock={lock})
lock.acquire("train", 0)
print("held", flush=True)
{then}
"""


@contextlib.contextmanager
def holder(folder: Path, lock=kernel_lock, then: str = "sys.stdin.readline(); lock.release()"):
    """Hold the lock in another process."""
    program = HOLD.format(folder=str(folder), lock=lock.__name__, then=then)
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@both
def test_another_process_is_refused_and_the_holder_named(tmp_path: Path, lock) -> None:
    with holder(tmp_path, lock) as process:
        owner = read_owner(tmp_path / OWNER)
        assert owner is not None
        with pytest.raises(ResumeError) as caught:
            RunLock(tmp_path, lock=lock).acquire("continue the run in 'x'")
    assert str(caught.value) == (
        f"could not continue the run in 'x': another process is training it: process {process.pid} on host "
        f"'{this_process().host}', since {owner.since}. Wait until it ends, or start a new run without --restart."
    )


@both
def test_one_object_is_refused_what_another_of_this_process_has(tmp_path: Path, lock, acquired) -> None:
    acquired(tmp_path, lock=lock)
    with pytest.raises(ResumeError, match=f"process {os.getpid()} on host"):
        RunLock(tmp_path, lock=lock).acquire("train")


@both
def test_what_is_given_back_can_be_taken(tmp_path: Path, lock, acquired) -> None:
    first = acquired(tmp_path, lock=lock)
    assert first.held
    first.release()
    assert not first.held
    assert not (tmp_path / OWNER).exists()
    first.release()
    acquired(tmp_path, lock=lock)
    assert read_owner(tmp_path / OWNER).pid == os.getpid()


@both
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, lock, acquired) -> None:
    with holder(tmp_path, lock) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / OWNER).exists()
        taken = acquired(tmp_path, lock=lock)
        assert read_owner(tmp_path / OWNER) == taken.owner
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, OWNER]


@both
def test_a_child_does_not_keep_the_lock_of_its_dead_parent(tmp_path: Path, lock, acquired) -> None:
    """As the worker of a loader, which is forked, lives a little longer than the process that was killed."""
    fork = (
        "import os\nchild = os.fork()\nif child == 0:\n    lock.release()\n    time.sleep(60 if not lock.held else 0)\n"
        "print(child, flush=True)\nsys.stdin.readline()"
    )
    with holder(tmp_path, lock, then=fork) as process:
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        try:
            acquired(tmp_path, PATIENCE, lock=lock)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_holder_that_is_not_known_yet_is_waited_for(tmp_path: Path, acquired) -> None:
    first = acquired(tmp_path)
    (tmp_path / OWNER).unlink()
    later = threading.Timer(0.2, record, (tmp_path,), {"pid": os.getppid(), "start": None})
    later.start()
    refusal = RunLock(tmp_path).attempt(60)
    later.join()
    assert refusal is not None
    assert f"process {os.getppid()}" in str(refusal)
    first.release()


def test_a_lock_that_a_dead_process_left_to_another_names_both(tmp_path: Path, acquired) -> None:
    acquired(tmp_path)
    record(tmp_path, pid=2**22 + 1, start="1")
    refusal = RunLock(tmp_path).attempt(0.1)
    assert "That process has ended, but one that it started still holds the lock: end it." in str(refusal)


def test_one_may_wait_for_any_holder(tmp_path: Path, acquired) -> None:
    first = acquired(tmp_path)
    later = threading.Timer(0.2, first.release)
    later.start()
    second = RunLock(tmp_path)
    assert second.attempt(60, waiting=True) is None
    later.join()
    second.release()


def test_a_removed_lock_file_frees_nothing(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        (tmp_path / LOCK).unlink()
        with pytest.raises(ResumeError, match=f"process {process.pid} on host"):
            RunLock(tmp_path).acquire("train")


def test_a_machine_that_is_gone_does_not_hold_what_the_kernel_gives(tmp_path: Path, acquired) -> None:
    record(tmp_path, **ELSEWHERE)
    acquired(tmp_path)
    assert read_owner(tmp_path / OWNER).pid == os.getpid()


def test_a_machine_that_gives_signs_of_life_holds_it_also_where_locks_are_not_shared(tmp_path: Path) -> None:
    record(tmp_path, **ELSEWHERE)
    pulse, over = tmp_path / "progress.json", threading.Event()

    def beat() -> None:
        while not over.wait(0.1):
            pulse.write_text(str(time.monotonic_ns()))

    pulse.write_text("")
    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(ResumeError, match="process 4711 on host 'n042'"):
            RunLock(tmp_path, pulse=pulse).acquire("train")
    finally:
        over.set()
        heart.join()


def test_a_sign_of_life_that_is_old_is_none(tmp_path: Path, acquired) -> None:
    record(tmp_path, **ELSEWHERE)
    pulse = tmp_path / "progress.json"
    pulse.write_text("")
    os.utime(pulse, (1, 1))
    acquired(tmp_path, pulse=pulse)


def test_without_locks_another_machine_is_refused_with_the_way_out(tmp_path: Path, acquired) -> None:
    record(tmp_path, **ELSEWHERE)
    with pytest.raises(ResumeError) as caught:
        RunLock(tmp_path, lock=no_lock).acquire("train")
    assert "process 4711 on host 'n042'" in str(caught.value)
    assert f"If it has ended, remove the file '{tmp_path / OWNER}'" in str(caught.value)
    (tmp_path / OWNER).unlink()
    acquired(tmp_path, lock=no_lock)


def test_without_locks_a_record_that_can_not_be_read_is_respected(tmp_path: Path) -> None:
    (tmp_path / OWNER).write_text("{")
    refusal = RunLock(tmp_path, lock=no_lock).attempt(0.1)
    assert "a process whose record can't be read. If it has ended, remove the file" in str(refusal)


def test_a_record_of_this_process_that_was_left_is_no_holder(tmp_path: Path, acquired) -> None:
    for lock in (kernel_lock, no_lock):
        record(tmp_path)
        acquired(tmp_path, lock=lock).release()


def test_of_two_that_find_a_dead_record_one_gets_the_lock(tmp_path: Path) -> None:
    record(tmp_path, pid=2**22 + 1, start="1", token="dead")
    (tmp_path / f"{LOCK}.after-dead").write_text(owner_text(this_process()))
    refusal = RunLock(tmp_path, lock=no_lock).attempt(0.1)
    assert f"remove the file '{tmp_path / LOCK}.after-dead'" in str(refusal)
    assert read_owner(tmp_path / OWNER).token == "dead", "nothing is taken from the one that was first"


def test_one_that_comes_late_to_a_dead_record_takes_nothing(tmp_path: Path, monkeypatch) -> None:
    """Between the look at the record and the claim on it, another process has taken the lock and dropped its claim."""
    record(tmp_path, pid=2**22 + 1, start="1", token="dead")
    create = locking._create

    def overtaken(path: Path, owner) -> bool:
        if path.name.endswith("after-dead"):
            record(tmp_path, pid=os.getppid(), start=None, token="faster")
        return create(path, owner)

    monkeypatch.setattr(locking, "_create", overtaken)
    refusal = RunLock(tmp_path, lock=no_lock).attempt(5)
    assert f"process {os.getppid()}" in str(refusal)
    assert read_owner(tmp_path / OWNER).token == "faster"
    assert not (tmp_path / f"{LOCK}.after-dead").exists()


RACE = """
import errno, pathlib, sys, time
from milepost.run.locking import RunLock, kernel_lock
def no_lock(descriptor):
    raise OSError(errno.ENOLCK, "No locks available")
folder = pathlib.Path({folder!r})
print("ready", flush=True)
sys.stdin.readline()
lock = RunLock(folder, lock={lock})
refusal = lock.attempt(0)
print("refused" if refusal else "held", flush=True)
sys.stdin.readline()
"""


@both
@pytest.mark.parametrize("dead", [False, True], ids=["free", "left by a dead one"])
def test_of_many_that_ask_at_once_one_gets_the_lock(tmp_path: Path, lock, dead: bool) -> None:
    if dead:
        record(tmp_path, pid=2**22 + 1, start="1")
    program = RACE.format(folder=str(tmp_path), lock=lock.__name__)
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
                )
            )
            for _ in range(6)
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("\n")
        answers = [process.stdout.readline() for process in processes]
        for process in processes:
            process.kill()
    assert sorted(answers) == ["held\n", *["refused\n"] * 5]


def test_errors_of_the_folder_come_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RunLock(tmp_path / "none").acquire("train")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        RunLock(tmp_path, lock=broken).acquire("train")


def test_the_record_names_machine_process_and_time(tmp_path: Path, acquired) -> None:
    acquired(tmp_path)
    content = json.loads((tmp_path / OWNER).read_text())
    assert set(content) == {"host", "pid", "start", "boot", "namespace", "since", "token"}
