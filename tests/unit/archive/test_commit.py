"""A file is there whole or not there: drafts, permissions, overwriting, names, errors."""

import csv
import errno
import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

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


def test_a_missing_folder_is_a_commit_error_that_says_to_create_it(tmp_path: Path):
    with pytest.raises(CommitError) as e:
        atomic_write(tmp_path / "absent" / "x", put(b""))
    assert str(e.value) == (
        f"could not create the draft of '{tmp_path}/absent/x': No such file or directory. Files committed earlier are "
        f"as they were. Create the folder '{tmp_path}/absent' first."
    )
    assert e.value.errno == errno.ENOENT
    assert isinstance(e.value, OSError)


def test_a_name_that_is_too_long_and_one_of_a_folder_say_so(tmp_path: Path):
    with pytest.raises(CommitError, match=r"File name too long\. Files .*\. Choose a shorter name\.$"):
        atomic_write(tmp_path / ("x" * 256), put(b""))
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommitError, match=r"Is a directory\. Files .*\. Choose another name: a folder has this one\.$"):
        atomic_write(tmp_path / "folder", put(b""), overwrite=True)
    with pytest.raises(OverwriteError, match=r"a folder of that name exists\. Choose another name\.$"):
        atomic_write(tmp_path / "folder", put(b""))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", "could not write '.': expected a path, found an empty one"),
        (".", "could not write '.': expected a path that ends in a file's name, found none"),
        ("/", "could not write '/': expected a path that ends in a file's name, found none"),
        ("a\0b", r"could not write 'a\x00b': expected a path without NUL characters, found one in it"),
        ("\ud800", r"could not write '\ud800': expected a path that the file system can spell, found lone surrogates"),
    ],
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_path_that_no_file_can_have_is_told_first(path: str, found: str, overwrite: bool):
    filesystem = Recorder()
    with pytest.raises(CommitError) as caught:
        atomic_write(path, put(b""), overwrite=overwrite, filesystem=filesystem)
    assert str(caught.value).startswith(found)
    assert str(caught.value).endswith("Give the path of a file.")
    assert (caught.value.errno, filesystem.calls) == (errno.EINVAL, [])


@pytest.mark.parametrize("durability", ["Power", "", None, True, ["power"]])
def test_a_durability_that_there_is_not_is_refused_before_anything_is_touched(tmp_path: Path, durability: Any):
    filesystem = Recorder()
    message = "expected durability 'power' or 'process', found " + re.escape(repr(durability))
    with pytest.raises(ValueError, match=message):
        atomic_write(tmp_path / "x", put(b""), durability=durability, filesystem=filesystem)
    assert filesystem.calls == []


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
