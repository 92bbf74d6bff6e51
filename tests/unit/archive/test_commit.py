"""A file is there whole or not there: drafts, permissions, overwriting, names, errors."""

import csv
import errno
import io
import os
import re
from pathlib import Path
from typing import BinaryIO

import pytest

from milepost.archive import FileSystem, atomic_write, is_draft
from milepost.archive.commit import draft_path
from milepost.errors import CommitError, OverwriteError


class Recorder(FileSystem):
    """Note each call; may take only some bytes at a time."""

    def __init__(self, at_once: int | None = None) -> None:
        self.calls: list[str] = []
        self.at_once = at_once

    def create(self, path: Path) -> int:
        self.calls.append("create")
        return super().create(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self.calls.append("write")
        return super().write(descriptor, data[: self.at_once])

    def fsync(self, descriptor: int) -> None:
        self.calls.append("fsync")
        super().fsync(descriptor)

    def close(self, descriptor: int) -> None:
        self.calls.append("close")
        super().close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self.calls.append("replace")
        super().replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        self.calls.append("link")
        super().link(source, target)

    def unlink(self, path: Path) -> None:
        self.calls.append("unlink")
        super().unlink(path)

    def fsync_directory(self, folder: Path) -> None:
        self.calls.append("fsync_directory")
        super().fsync_directory(folder)


def put(content: bytes):
    def write(stream: BinaryIO) -> None:
        stream.write(content)

    return write


def test_the_order_of_calls_is_the_protocol(tmp_path: Path):
    filesystem = Recorder()
    atomic_write(tmp_path / "x", put(b"1"), filesystem=filesystem)
    assert filesystem.calls == ["create", "write", "fsync", "close", "link", "unlink", "fsync_directory"]
    filesystem = Recorder()
    atomic_write(tmp_path / "x", put(b"2"), overwrite=True, filesystem=filesystem)
    assert filesystem.calls == ["create", "write", "fsync", "close", "replace", "fsync_directory"]
    filesystem = Recorder()
    atomic_write(tmp_path / "y", put(b"3"), durability="process", filesystem=filesystem)
    assert filesystem.calls == ["create", "write", "close", "link", "unlink"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"2", "y": b"3"}


def test_short_writes_are_continued(tmp_path: Path):
    content = os.urandom(5000)
    atomic_write(tmp_path / "x", put(content), filesystem=Recorder(at_once=7))
    assert (tmp_path / "x").read_bytes() == content


def test_the_umask_decides_the_permissions(tmp_path: Path):
    for mask, mode in ((0o022, 0o644), (0o007, 0o660)):
        before = os.umask(mask)
        try:
            atomic_write(tmp_path / oct(mask), put(b""))
        finally:
            os.umask(before)
        assert (tmp_path / oct(mask)).stat().st_mode & 0o777 == mode


def test_the_stream_is_a_seekable_binary_file(tmp_path: Path):
    def write(stream: BinaryIO) -> None:
        text = io.TextIOWrapper(stream, newline="", write_through=True)
        csv.writer(text).writerow(["a", "é"])
        text.detach()
        assert stream.tell() == 6
        stream.seek(0)
        stream.write(b"A")

    atomic_write(tmp_path / "x", write)
    assert (tmp_path / "x").read_bytes() == "A,é\r\n".encode()


def test_a_file_that_is_there_is_kept_before_anything_is_written(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"mine")
    filesystem = Recorder()
    with pytest.raises(OverwriteError, match=rf"could not write '{tmp_path}/x': a file of that name exists") as caught:
        atomic_write(tmp_path / "x", put(b"2"), filesystem=filesystem)
    assert (caught.value.errno, filesystem.calls) == (errno.EEXIST, [])
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path):
    def write(stream: BinaryIO) -> None:
        (tmp_path / "x").write_bytes(b"theirs")
        stream.write(b"mine")

    with pytest.raises(OverwriteError):
        atomic_write(tmp_path / "x", write)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"theirs")]


class NoLinks(FileSystem):
    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")


def test_without_hard_links_nothing_is_overwritten_either(tmp_path: Path):
    def write(stream: BinaryIO) -> None:
        (tmp_path / "x").write_bytes(b"theirs")

    with pytest.raises(OverwriteError):
        atomic_write(tmp_path / "x", write, filesystem=NoLinks())
    atomic_write(tmp_path / "y", put(b"1"), filesystem=NoLinks())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"theirs", "y": b"1"}


@pytest.mark.parametrize("error", [RuntimeError("mine"), KeyboardInterrupt(), OSError(errno.EIO, "not from here")])
def test_what_the_writer_raises_comes_out_unchanged_and_leaves_nothing(tmp_path: Path, error: BaseException):
    def write(stream: BinaryIO) -> None:
        stream.write(b"1" * 2_000_000)
        raise error

    with pytest.raises(type(error)) as caught:
        atomic_write(tmp_path / "x", write)
    assert caught.value is error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_or_read_only_is_a_commit_error(tmp_path: Path):
    with pytest.raises(
        CommitError, match=r"could not create the draft of .*No such file or directory.*save again"
    ) as e:
        atomic_write(tmp_path / "absent" / "x", put(b""))
    assert e.value.errno == errno.ENOENT
    assert isinstance(e.value, OSError)


def test_drafts_are_recognisable_and_unique_also_for_long_names(tmp_path: Path):
    draft = draft_path(tmp_path / "model.ckpt")
    assert re.fullmatch(r"\.model\.ckpt\.[0-9a-f]{8}\.draft", draft.name)
    assert draft.parent == tmp_path
    assert is_draft(draft)
    assert not is_draft(tmp_path / "model.ckpt")
    assert is_draft(draft, of=draft.name[1:].rsplit(".", 2)[0])
    assert not is_draft(draft, of="model")
    assert draft_path(tmp_path / "x") != draft_path(tmp_path / "x")
    for name in ("é" * 127, "x" * 255):
        atomic_write(tmp_path / name, put(b"1"))
        assert (tmp_path / name).read_bytes() == b"1"


def test_drawing_a_draft_name_leaves_the_seeded_generators_alone(tmp_path: Path):
    import random

    before = random.getstate()
    atomic_write(tmp_path / "x", put(b"1"))
    assert random.getstate() == before
