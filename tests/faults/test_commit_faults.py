"""What a commit does about an error: it stops, closes, cleans up, and tries nothing twice.

That nothing is lost then is the matter of `test_every_call.py`.
"""

from pathlib import Path

import pytest
import torch

from faults.injection import Faulty
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


def check_folder(folder: Path, *, drafts: int = 0) -> None:
    """Only whole checkpoints and drafts are there; what loads is what was saved."""
    for path in folder.iterdir():
        assert is_draft(path) or kind_of(path) == "checkpoint", path
    assert sum(map(is_draft, folder.iterdir())) <= drafts
    for entry in list_checkpoints(folder, verify=True):
        assert entry.verified
        with load_checkpoint(entry.path) as checkpoint:
            assert checkpoint.state("model")["w"].eq(entry.step).all()


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
