"""Fail every file-system call of a save in turn, before and after it takes effect.

After each: an error that names the file, the previous checkpoint loads, nothing misleading is in the folder,
and the next save works.
"""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.archive import FileSystem, is_draft, kind_of
from milepost.checkpoint import (
    CheckpointRecord,
    KeepLast,
    checkpoint_name,
    list_checkpoints,
    load_checkpoint,
    newest_verified,
    retire,
    save_checkpoint,
)
from milepost.errors import CommitError

CALLS = ("create", "write", "seek", "fsync", "close", "replace", "link", "unlink", "fsync_directory")


class Faulty(FileSystem):
    """Make the `at`-th call fail with `code`, before or after it is made; or the process die there."""

    def __init__(self, at: int = -1, code: int = errno.EIO, after: bool = False, die: bool = False) -> None:
        self.calls: list[str] = []
        self.at, self.code, self.after, self.die, self.dead = at, code, after, die, False

    def fsync(self, descriptor: int) -> None:
        """Leave the device alone: what is tested is the order of calls and the errors."""

    def fsync_directory(self, folder: Path) -> None:
        """As `fsync`."""

    def _call(self, name: str, *arguments: Any) -> Any:
        if self.dead:  # a dead process makes no more calls, not even to clean up
            raise Died
        self.calls.append(name)
        if len(self.calls) - 1 != self.at:
            return self._make(name, *arguments)
        if self.after:
            self._make(name, *arguments)
        elif name == "close":  # the kernel closes the descriptor even when it reports an error
            FileSystem.close(self, *arguments)
        if self.die:
            self.dead = True
            raise Died
        raise OSError(self.code, "injected fault")

    def _make(self, name: str, *arguments: Any) -> Any:
        return getattr(type(self), name)(self, *arguments)

    def __getattribute__(self, name: str) -> Any:
        if name in CALLS:
            return lambda *arguments: self._call(name, *arguments)
        return super().__getattribute__(name)


class Died(BaseException):
    """Stand for the end of the process."""


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small file take several writes."""
    monkeypatch.setattr("milepost.archive.commit._BUFFER_BYTES", 2048)


def save(folder: Path, step: int, *, overwrite: bool = False, filesystem: FileSystem | None = None) -> None:
    state = {"model": {"w": torch.full((1000,), float(step)), "b": torch.ones(3)}}
    save_checkpoint(
        folder / checkpoint_name(step),
        state,
        options_yaml="",
        record=CheckpointRecord("run", step, created="2026-01-01T00:00:00+00:00"),
        overwrite=overwrite,
        filesystem=filesystem or Faulty(),
    )


def count_calls(folder: Path, overwrite: bool) -> list[str]:
    filesystem = Faulty()
    save(folder, 99, overwrite=overwrite, filesystem=filesystem)
    (folder / checkpoint_name(99)).unlink()
    return filesystem.calls


def faults(folder: Path, overwrite: bool) -> Iterator[tuple[int, str, int, bool]]:
    calls = count_calls(folder, overwrite)
    assert {"create", "write", "seek", "fsync", "close", "fsync_directory"} < set(calls)
    assert ("replace" in calls) == overwrite
    assert len(calls) >= 10
    for at, name in enumerate(calls):
        for code in (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS):
            for after in (False, True):
                yield at, name, code, after


def check_folder(folder: Path, *, drafts: int = 0) -> None:
    """Only whole checkpoints and drafts are there; what loads is what was saved."""
    for path in folder.iterdir():
        assert is_draft(path) or kind_of(path) == "checkpoint", path
    assert sum(map(is_draft, folder.iterdir())) <= drafts
    for entry in list_checkpoints(folder, verify=True):
        assert entry.verified
        with load_checkpoint(entry.path) as checkpoint:
            assert checkpoint.state("model")["w"].eq(entry.step).all()


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "replace"])
def test_each_call_that_fails_leaves_the_previous_checkpoint_and_a_working_folder(tmp_path: Path, overwrite: bool):
    save(tmp_path, 1)
    for at, name, code, after in faults(tmp_path, overwrite):
        with pytest.raises(CommitError, match=r"could not .*step-00000002.ckpt.*injected fault") as caught:
            save(tmp_path, 2, overwrite=overwrite, filesystem=Faulty(at, code, after))
        assert caught.value.errno == code
        newest, damaged = newest_verified(tmp_path, "run")
        assert damaged == []
        published = name in ("fsync_directory", "unlink") or (after and name in ("link", "replace"))
        assert newest == tmp_path / checkpoint_name(2 if published else 1), (at, name, after)
        # A draft can be left only where removing it is what failed, or where it had not been opened yet.
        check_folder(tmp_path, drafts=1 if name in ("create", "unlink") else 0)
        save(tmp_path, 2, overwrite=True)
        check_folder(tmp_path, drafts=1)
        for path in tmp_path.iterdir():
            if path.name != checkpoint_name(1):
                path.unlink()


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "replace"])
def test_a_process_that_dies_at_each_call_leaves_only_a_draft(tmp_path: Path, overwrite: bool):
    save(tmp_path, 1)
    save(tmp_path, 2)
    calls = count_calls(tmp_path, overwrite)
    for at in range(len(calls)):
        for after in (False, True):
            step = 2 if overwrite else 3
            with pytest.raises(Died):
                save(tmp_path, step, overwrite=overwrite, filesystem=Faulty(at, after=after, die=True))
            check_folder(tmp_path, drafts=1)
            newest, damaged = newest_verified(tmp_path, "run")
            assert newest is not None
            assert newest.name in (checkpoint_name(2), checkpoint_name(step))
            assert damaged == []
            save(tmp_path, 3, overwrite=True)
            (tmp_path / checkpoint_name(3)).unlink()
            for path in filter(is_draft, tmp_path.iterdir()):
                path.unlink()


def test_a_failed_fsync_is_never_repeated(tmp_path: Path):
    calls = count_calls(tmp_path, overwrite=False)
    filesystem = Faulty(calls.index("fsync"))
    with pytest.raises(CommitError, match="could not fsync"):
        save(tmp_path, 2, filesystem=filesystem)
    assert filesystem.calls[calls.index("fsync") + 1 :] == ["close", "unlink"]


@pytest.mark.parametrize("after", [False, True])
def test_after_a_fault_nothing_more_is_written(tmp_path: Path, after: bool) -> None:
    calls = count_calls(tmp_path, overwrite=True)
    for at in range(calls.index("replace")):
        filesystem = Faulty(at, after=after)
        with pytest.raises(CommitError):
            save(tmp_path, 2, overwrite=True, filesystem=filesystem)
        assert filesystem.calls[at + 1 :] in (["close", "unlink"], ["unlink"], []), calls[at]


def test_no_descriptor_is_left_open_by_any_fault(tmp_path: Path):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("open files can be counted where /proc is")
    before = len(list(descriptors.iterdir()))
    for at, name in enumerate(count_calls(tmp_path, overwrite=True)):
        with pytest.raises(CommitError):
            save(tmp_path, 2, overwrite=True, filesystem=Faulty(at, after=name not in ("create",)))
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize("after", [False, True])
def test_retiring_that_fails_leaves_sound_checkpoints(tmp_path: Path, after: bool):
    for at in (0, 1, 2):
        for step in (1, 2, 3):
            save(tmp_path, step, overwrite=True)
        filesystem = Faulty(at, after=after)
        with pytest.raises(CommitError, match=r"could not retire .*injected fault"):
            retire(tmp_path, "run", [KeepLast(1)], tmp_path / checkpoint_name(3), filesystem=filesystem)
        assert filesystem.calls == ["unlink", "unlink", "fsync_directory"][: at + 1]
        check_folder(tmp_path)
        assert newest_verified(tmp_path)[0] == tmp_path / checkpoint_name(3)
