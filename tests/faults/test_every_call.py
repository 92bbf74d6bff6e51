"""Every call of a save in turn (commit, `latest`, retire): killed, refused, cut short, interrupted.

After each: a sound checkpoint is there, nothing that is listed is half, the next save works, and the error names the
step that failed.
"""

import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.injection import Faulty, Interrupted, Short, Unsynced
from faults.sequence import LATEST, problems, save
from milepost.archive import is_draft
from milepost.checkpoint import checkpoint_name
from milepost.errors import CommitError

BUFFER = 6000
NEW, REPLACING = 3, 2
STEPS = {
    "create": "could not create the draft of",
    "write": "could not write",
    "seek": "could not write",
    "fsync": "could not fsync",
    "close": "could not close",
    "link": "could not link the draft to",
    "replace": "could not rename the draft to",
    "unlink": "could not (remove the draft's name of|retire)",
    "fsync_directory": "could not (make durable [^']*|retire)",
}
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)

Folder = Callable[[], Path]


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small file take several writes."""
    monkeypatch.setattr("milepost.archive.commit._BUFFER_BYTES", BUFFER)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Give a folder that holds steps 1 and 2, anew at each call."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    for step in (1, 2):
        save(original, step, keep=2, filesystem=Unsynced())

    def fresh() -> Path:
        shutil.rmtree(copy, ignore_errors=True)
        return Path(shutil.copytree(original, copy))

    return fresh


def calls_of(folder: Path, step: int) -> list[str]:
    """Return the calls of one whole save."""
    filesystem = Faulty()
    save(folder, step, overwrite=step == REPLACING, filesystem=filesystem)
    expected = set(STEPS) - ({"link"} if step == REPLACING else set())
    assert set(filesystem.calls) == expected
    return filesystem.calls


def is_published(calls: list[str], at: int, after: bool) -> bool:
    """Tell whether the new checkpoint had its name when call `at` failed, before or after it took effect."""
    return (at, after) >= (calls.index("link" if "link" in calls else "replace"), True)


def check(folder: Path, step: int, published: bool, drafts: int) -> None:
    """Check the promise after a fault, with so many drafts at most, and that the next save works."""
    assert problems(folder, at_least=step if published else 2) == []
    assert published or step == REPLACING or not (folder / checkpoint_name(step)).exists()
    assert sum(map(is_draft, folder.iterdir())) <= drafts
    save(folder, 4, filesystem=Unsynced())
    assert problems(folder, at_least=4) == []
    left = {path.name for path in folder.iterdir() if not is_draft(path)}
    assert left == {checkpoint_name(4), LATEST}


@pytest.mark.parametrize("step", [NEW, REPLACING], ids=["new", "replacing"])
@pytest.mark.parametrize("code", ERRORS, ids=[errno.errorcode[code] for code in ERRORS])
def test_a_refused_call_is_named_and_loses_nothing(folder: Folder, step: int, code: int):
    calls = calls_of(folder(), step)
    moments = (False, True) if code == errno.EIO else (False,)  # the others refuse before anything is done
    for (at, name), after in itertools.product(enumerate(calls), moments):
        place = folder()
        with pytest.raises(CommitError, match=rf"(?s)^{STEPS[name]} '.*injected fault") as caught:
            save(place, step, overwrite=step == REPLACING, filesystem=Faulty(at, code, after))
        assert caught.value.errno == code
        # A draft is left only where removing it is what failed, or where it had not been opened yet.
        check(place, step, is_published(calls, at, after), drafts=1 if name in ("create", "unlink") else 0)


@pytest.mark.parametrize("step", [NEW, REPLACING], ids=["new", "replacing"])
def test_a_call_interrupted_by_the_system_is_made_again_or_named(folder: Folder, step: int):
    calls = calls_of(folder(), step)
    again = 0
    for at, name in enumerate(calls):
        place = folder()
        error = error_of_saving(place, step, Faulty(at, errno.EINTR))
        again += error is None
        assert error is None or (error.errno == errno.EINTR and re.match(STEPS[name], str(error)))
        published = error is None or is_published(calls, at, False)
        check(place, step, published, drafts=1 if error and name in ("create", "unlink") else 0)
    assert again == calls.count("write"), "Python's buffer writes again"


def error_of_saving(folder: Path, step: int, filesystem: Faulty) -> CommitError | None:
    try:
        save(folder, step, overwrite=step == REPLACING, filesystem=filesystem)
    except CommitError as error:
        return error
    return None


@pytest.mark.parametrize("step", [NEW, REPLACING], ids=["new", "replacing"])
def test_an_interrupt_at_any_call_comes_out_unchanged_and_loses_nothing(folder: Folder, step: int):
    calls = calls_of(folder(), step)
    for (at, name), after in itertools.product(enumerate(calls), (False, True)):
        place = folder()
        with pytest.raises(KeyboardInterrupt):
            save(place, step, overwrite=step == REPLACING, filesystem=Interrupted(at, after=after))
        check(place, step, is_published(calls, at, after), drafts=1 if name in ("create", "unlink") else 0)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999], ids=["one byte", "half", "nearly all"])
def test_a_short_write_is_continued(folder: Folder, share: float):
    calls = calls_of(folder(), NEW)
    whole = newest_bytes(folder())
    for at in (number for number, name in enumerate(calls) if name == "write"):
        place = folder()
        filesystem = Short(at, share)
        save(place, NEW, filesystem=filesystem)
        assert newest_bytes(place, saved=True) == whole, at


def newest_bytes(folder: Path, saved: bool = False) -> bytes:
    if not saved:
        save(folder, NEW, filesystem=Unsynced())
    return (folder / checkpoint_name(NEW)).read_bytes()


class Full(Unsynced):
    """Take no byte and report no error, as some network file systems do when they are full."""

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        return 0


def test_a_write_that_takes_nothing_is_an_error_and_no_endless_loop(folder: Folder):
    place = folder()
    with pytest.raises(CommitError, match=r"could not write .*took none of"):
        save(place, NEW, filesystem=Full())
    assert problems(place, at_least=2) == []


def test_signals_that_interrupt_calls_change_nothing(folder: Folder):
    """The kernel's own EINTR: Python makes the call again, so a save under a hail of signals is whole."""
    place = folder()
    struck: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: struck.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for step in range(3, 40):
            save(place, step, numbers=200_000)
            if len(struck) > 50:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(struck) > 50
    assert problems(place, at_least=step) == []


@pytest.fixture
def killer() -> Iterator[Callable[..., int]]:
    """Give a function that saves in a process of its own, which kills itself at a chosen call."""
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(tests), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("killed_saves.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        requests, answers = process.stdin, process.stdout
        assert requests is not None
        assert answers is not None

        def kill(folder: Path, step: int, at: int, after: bool) -> int:
            request = {"folder": str(folder), "step": step, "overwrite": step == REPLACING, "at": at, "after": after}
            requests.write(json.dumps(request | {"buffer": BUFFER}) + "\n")
            requests.flush()
            return int(answers.readline())

        yield kill
        requests.close()
    assert process.returncode == 0


def test_a_process_killed_before_or_after_any_call_loses_nothing(folder: Folder, killer: Callable[..., int]):
    kills = 0
    for step in (NEW, REPLACING):
        calls = calls_of(folder(), step)
        for at in range(len(calls)):
            for after in (False, True):
                place = folder()
                status = killer(place, step, at, after)
                assert os.WIFSIGNALED(status)
                assert os.WTERMSIG(status) == signal.SIGKILL
                kills += 1
                check(place, step, is_published(calls, at, after), drafts=1)
        place = folder()
        assert killer(place, step, len(calls), False) == 0, "a save that is not killed ends by itself"
        assert problems(place, at_least=step) == []
    print(f"{kills} processes were killed")
    assert kills > 60
