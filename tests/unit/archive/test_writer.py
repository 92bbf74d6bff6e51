"""Large tensors are checked beside the writing of them; the bytes are those of the plain way."""

import errno
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from milepost.archive import Archive, FileSystem, plan_archive, write_archive, write_plan, writer
from milepost.errors import CommitError, UnsavableError

LARGE = {"large": torch.arange(3 * 2**20, dtype=torch.int16), "small": torch.ones(3)}


def test_checking_beside_the_writing_gives_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_archive(tmp_path / "beside", kind="k", components={"c": LARGE})
    monkeypatch.setattr(writer, "_THREAD_PAYS_FROM", 2**30)
    write_archive(tmp_path / "plain", kind="k", components={"c": LARGE})
    assert (tmp_path / "beside").read_bytes() == (tmp_path / "plain").read_bytes()
    with Archive.open(tmp_path / "beside") as archive:
        assert archive.verify() == []
    with zipfile.ZipFile(tmp_path / "beside") as unzipped:
        assert unzipped.testzip() is None


def test_a_small_archive_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("a thread was started")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    write_archive(tmp_path / "x", kind="k", components={"c": {"small": torch.ones(3)}})
    with pytest.raises(RuntimeError, match="a thread was started"):
        write_archive(tmp_path / "y", kind="k", components={"c": LARGE})


class Failing(FileSystem):
    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_failed_write_ends_the_checking(tmp_path: Path):
    before = threading.enumerate()
    with pytest.raises(CommitError, match="No space left"):
        write_archive(tmp_path / "x", kind="k", components={"c": LARGE}, filesystem=Failing())
    assert threading.enumerate() == before
    assert list(tmp_path.iterdir()) == []


class Noting(FileSystem):
    def __init__(self) -> None:
        self.hinted = 0

    def begin_writeback(self, descriptor: int, offset: int, size: int) -> None:
        super().begin_writeback(descriptor, offset, size)
        self.hinted += size


def test_the_device_is_set_to_work_early_where_the_file_is_to_be_durable(tmp_path: Path):
    filesystem = Noting()
    write_archive(tmp_path / "x", kind="k", components={"c": LARGE}, filesystem=filesystem)
    assert 2**20 <= filesystem.hinted <= (tmp_path / "x").stat().st_size
    filesystem = Noting()
    write_archive(tmp_path / "y", kind="k", components={"c": LARGE}, durability="process", filesystem=filesystem)
    assert filesystem.hinted == 0


def test_a_hint_that_the_system_refuses_is_no_error():
    FileSystem().begin_writeback(-1, 0, 10)


def test_a_plan_can_be_written_twice_and_holds_nothing_that_changes(tmp_path: Path):
    tree, extra = {"x": torch.ones(2), "list": [1]}, {"a": {"b": [1]}}
    plan = plan_archive(kind="k", components={"c": tree}, files={"f": b"1"}, manifest=extra)
    tree["list"].append(2)
    extra["a"]["b"].append(2)
    first = write_plan(tmp_path / "a", plan)
    assert write_plan(tmp_path / "b", plan).digest == first.digest
    assert first.extra == {"a": {"b": [1]}}
    with Archive.open(tmp_path / "a") as archive:
        assert archive.tree("c")["list"] == [1]


def test_each_tensor_is_asked_for_before_it_is_read(tmp_path: Path):
    tensor = torch.zeros(2)
    plan = plan_archive(kind="k", components={"c": {"x": tensor}}, files={}, manifest={})
    write_plan(tmp_path / "a", plan, ready=lambda key: tensor.fill_(len(key)))
    with Archive.open(tmp_path / "a") as archive:
        assert archive.tree("c")["x"].tolist() == [2, 2]

    def refuse(key: tuple[str, str]) -> None:
        raise LookupError(key)

    with pytest.raises(LookupError, match=r"c\.safetensors"):
        write_plan(tmp_path / "b", plan, ready=refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_tensors_of_a_plan_can_be_substituted(tmp_path: Path):
    tensor = torch.ones(2)
    plan = plan_archive(kind="k", components={"c": {"x": tensor, "y": tensor}, "d": 1}, files={}, manifest={})
    assert [(key, held is tensor) for key, held in plan.tensors()] == [(("c.safetensors", "x"), True)]
    write_plan(tmp_path / "a", plan.with_tensors(lambda key: torch.zeros(2)))
    with Archive.open(tmp_path / "a") as archive:
        assert archive.tree("c")["y"].tolist() == [0, 0]


def test_what_cannot_be_saved_is_refused_when_it_is_planned():
    with pytest.raises(UnsavableError, match=r"could not save 'c\.x'"):
        plan_archive(kind="k", components={"c": {"x": object()}}, files={}, manifest={})
