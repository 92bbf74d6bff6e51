"""A disk that is full for a while costs checkpoints, and nothing else."""

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lifecycle import toy
from lifecycle.runs import differing
from lifecycle.test_rolling_back import assert_same, end_of, only
from milepost.archive import FileSystem, is_draft
from milepost.checkpoint import list_checkpoints
from milepost.errors import CommitError
from milepost.run import saving, shortage

SMALL = 2**20


class Disk(toy.Log):
    """Have no space from the end of a step on, until that of another."""

    def __init__(self, full_from: int, free_from: int) -> None:
        super().__init__()
        self.full_from, self.free_from = full_from, free_from
        self.full = False
        self.kept: list[int] = []

    def step(self, done: int) -> None:
        if done == self.free_from:
            runs = Path(self.folder).glob("outputs/*/*/checkpoints")
            self.kept = [entry.step for folder in runs for entry in list_checkpoints(folder, verify=True)]
            self.set(False)
        elif done == self.full_from:
            self.settle(done - 1)
            self.set(True)

    def settle(self, step: int) -> None:
        """Wait until the checkpoint of a step is committed, and what comes after that is done."""
        end = time.monotonic() + 60
        (record,) = Path(self.folder).glob("outputs/*/*/run.json")
        while json.loads(record.read_text())["step"] != step:
            assert time.monotonic() < end, f"no checkpoint of step {step}"
            time.sleep(0.005)

    def set(self, full: bool) -> None:
        self.full = full


@pytest.fixture(autouse=True)
def _toy(tmp_path):
    with toy.installed(tmp_path / "toy"):
        yield


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(shortage, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(shortage, "LOOK_EVERY_SECONDS", 0.05)


@pytest.fixture
def failing(monkeypatch):
    """Let every write fail with an error while a disk is full."""

    def install(disk: Disk, code: int) -> None:
        write = FileSystem.write

        def refused(self, descriptor, data):
            if disk.full:
                raise OSError(code, os.strerror(code))
            return write(self, descriptor, data)

        monkeypatch.setattr(FileSystem, "write", refused)

    return install


def prepared(folder: Path, disk: Disk | None = None, **options) -> Path:
    folder.mkdir(exist_ok=True)
    toy.write_options(folder, **options)
    if disk is not None:
        disk.folder = folder
    return folder


def told(disk: Disk, text: str) -> int:
    return sum(text in line for line in disk.lines)


def told_at_once(disk: Disk) -> bool:
    """Tell whether the first save that found space was told of, once: that of step 12 may still be waiting for it."""
    found = [line for line in disk.lines if "there is space again" in line]
    return len(found) == 1 and found[0].endswith(("saved step 12", "saved step 14"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_for_a_while_changes_nothing(tmp_path, failing, code):
    alone = prepared(tmp_path / "alone")
    toy.run(alone)
    disk = Disk(5, 13)
    failing(disk, code)
    short = prepared(tmp_path / "short", disk)
    assert toy.run(short, reporter=disk).outcome == "finished"
    assert_same(end_of(short), end_of(alone))
    assert disk.kept == [2, 4], "nothing was retired before its successor was safe"
    assert not [path for path in only(short).rglob("*") if is_draft(path)]
    assert told(disk, "could not save") == 1, disk.lines
    assert told(disk, "for lack of space") == 1
    assert told_at_once(disk), disk.lines


def test_at_the_end_the_run_waits_for_space(tmp_path, failing):
    alone = prepared(tmp_path / "alone")
    toy.run(alone)

    class Freed(Disk):
        def say(self, message):
            super().say(message)
            if "waiting up to" in message:
                self.set(False)

    disk = Freed(17, 99)
    failing(disk, errno.ENOSPC)
    short = prepared(tmp_path / "short", disk)
    assert toy.run(short, reporter=disk).outcome == "finished"
    assert_same(end_of(short), end_of(alone))
    assert told(disk, "there is space again: saved step 18") == 1


def test_a_run_that_ends_without_space_says_so_and_can_be_continued(tmp_path, failing):
    alone = prepared(tmp_path / "alone")
    toy.run(alone)
    disk = Disk(9, 99)
    failing(disk, errno.ENOSPC)
    short = prepared(tmp_path / "short", disk)
    result = toy.run(short, reporter=disk)
    assert (result.outcome, result.step, result.model) == ("unsaved", 8, None)
    assert "lack of space" in result.cause
    disk.set(False)
    toy.run(short)
    assert_same(end_of(short), end_of(alone))


def test_a_stop_without_space_does_not_wait(tmp_path, failing, monkeypatch):
    monkeypatch.setattr(shortage, "PATIENCE_SECONDS", 3600.0)

    class Stopped(Disk):
        def step(self, done):
            super().step(done)
            if done == 11:
                os.kill(os.getpid(), signal.SIGTERM)

    disk = Stopped(9, 99)
    failing(disk, errno.ENOSPC)
    result = toy.run(prepared(tmp_path / "short", disk), reporter=disk)
    assert (result.outcome, result.step) == ("unsaved", 8)


def test_a_model_that_finds_no_space_is_published_by_the_next_start(tmp_path, failing):
    alone = prepared(tmp_path / "alone")
    toy.run(alone)

    disk = Disk(99, 99)
    failing(disk, errno.ENOSPC)
    short = prepared(tmp_path / "short", disk)
    from milepost.run import training

    publish = training.publish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "publish", lambda *a, **k: (disk.set(True), publish(*a, **k)))
        result = toy.run(short, reporter=disk)
    assert (result.outcome, result.step) == ("unsaved", 18)
    assert told(disk, "could not save the model 'model.ckpt'") == 1
    disk.set(False)
    assert toy.run(short).outcome == "finished"
    assert_same(end_of(short), end_of(alone))


def test_what_only_hints_at_the_newest_does_not_keep_old_checkpoints_from_making_space(tmp_path, monkeypatch):
    def refused(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saving, "mark_latest", refused)
    disk = Disk(99, 99)
    folder = prepared(tmp_path / "run", disk, checkpoints={"keep_best": 0})
    assert toy.run(folder, reporter=disk).outcome == "finished"
    assert [entry.step for entry in list_checkpoints(only(folder) / "checkpoints")] == [16, 18]
    assert told(disk, "could not save which checkpoint is the latest") == 1


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_any_other_error_ends_the_run(tmp_path, failing, code):
    disk = Disk(5, 99)
    failing(disk, code)
    with pytest.raises(CommitError) as caught:
        toy.run(prepared(tmp_path / "broken", disk), reporter=disk)
    assert caught.value.errno == code


def mounted(folder: Path) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "milepost-test", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.fixture
def small(tmp_path):
    """Mount a file system of one MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None or not mounted(folder):
        pytest.skip("needs root and the right to mount a file system in memory")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class Filled(Disk):
    """Fill a real file system to its last byte, and empty it again."""

    def set(self, full: bool) -> None:
        super().set(full)
        ballast = Path(self.folder) / "ballast"
        if not full:
            ballast.unlink()
            return
        with ballast.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
            while True:
                stream.write(b"\0" * 4096)


def test_a_real_file_system_that_is_full_for_a_while_changes_nothing(tmp_path, small):
    alone = prepared(tmp_path / "alone")
    toy.run(alone)
    disk = Filled(5, 13)
    short = prepared(small / "short", disk)
    assert toy.run(short, reporter=disk).outcome == "finished"
    assert_same(end_of(short), end_of(alone))
    assert disk.kept == [2, 4]
    assert told(disk, "could not save") == 1, disk.lines
    assert told_at_once(disk), disk.lines


def test_the_command_says_by_its_status_that_nothing_could_be_saved_at_the_end(tmp_path, small):
    """The file system is full from the start of training on; a signal ends the waiting for space."""
    folder = prepared(small / "short", training={"epochs": 3}, seconds=0.05)
    code = (
        "from pathlib import Path\n"
        "from milepost.run import progress, shortage\n"
        "shortage.PATIENCE_SECONDS = 0.2\n"
        "shortage.LOOK_EVERY_SECONDS = 0.05\n"
        "step = progress.Reporter.step\n"
        "def fill(self, done):\n"
        "    if done == 5:\n"
        "        try:\n"
        "            with open('ballast', 'wb', buffering=0) as stream:\n"
        "                while stream.write(bytes(4096)):\n"
        "                    pass\n"
        "        except OSError:\n"
        "            pass\n"
        "    step(self, done)\n"
        "progress.Reporter.step = fill\n"
        "from milepost.cli import main\n"
        "main(['train', 'options.yaml', '--restart', 'auto', '--no-export'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=toy.environment(tmp_path / "toy"), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 74, done.stderr
    assert "for lack of space" in done.stderr
    assert "step 4" in done.stderr
    (folder / "ballast").unlink()
    toy.run(folder)
    alone = prepared(tmp_path / "alone", training={"epochs": 3}, seconds=0.0)
    toy.run(alone)
    assert differing(end_of(folder)[1]["model"], end_of(alone)[1]["model"]) == []
