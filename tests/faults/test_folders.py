"""Unusual folders and names: read-only ones, symbolic links, names of every alphabet and length, clocks set back."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from faults.injection import Unsynced
from faults.sequence import RUN, commit, problems, problems_of, save
from milepost.archive import Archive, is_draft, write_archive
from milepost.checkpoint import (
    CheckpointRecord,
    KeepLast,
    checkpoint_name,
    list_checkpoints,
    load_checkpoint,
    mark_latest,
    newest_verified,
    retire,
    save_checkpoint,
)
from milepost.errors import CommitError, OverwriteError, UnsavableError


def run_or_skip(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]} is not possible here: {done.stderr.strip()}")


def forbidden(folder: Path) -> Iterator[tuple[Path, int]]:
    """Take away the permission to write."""
    if os.geteuid() == 0:
        pytest.skip("root may write where permissions forbid it")
    folder.chmod(0o555)
    yield folder, errno.EACCES
    folder.chmod(0o755)


def immutable(folder: Path) -> Iterator[tuple[Path, int]]:
    """Forbid changes even to root."""
    if shutil.which("chattr") is None:
        pytest.skip("chattr is not installed")
    run_or_skip("chattr", "+i", str(folder))
    yield folder, errno.EPERM
    subprocess.run(["chattr", "-i", str(folder)], check=True)


def mounted_read_only(folder: Path) -> Iterator[tuple[Path, int]]:
    """Show the folder a second time, read-only."""
    second = folder.with_name("second")
    second.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    run_or_skip("mount", "--bind", str(folder), str(second))
    try:
        run_or_skip("mount", "-o", "remount,ro,bind", str(second))
        yield second, errno.EROFS
    finally:
        subprocess.run(["umount", str(second)], check=True)


@pytest.fixture(params=[forbidden, immutable, mounted_read_only], ids=lambda way: way.__name__)
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Give a folder with steps 1 and 2 that can't be written, and the error that the kernel gives there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for step in (1, 2):
        save(folder, step, keep=2, filesystem=Unsynced())
    yield from request.param(folder)


def test_a_read_only_folder_is_read_and_never_changed(read_only: tuple[Path, int]):
    folder, code = read_only
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(CommitError, match=r"could not create the draft of '.*step-00000003\.ckpt'") as saving:
        commit(folder, 3)
    with pytest.raises(CommitError, match=r"could not create the draft of '.*latest'"):
        mark_latest(folder / checkpoint_name(2))
    with pytest.raises(CommitError, match=r"could not retire '.*step-00000001\.ckpt'") as retiring:
        retire(folder, RUN, [KeepLast(1)], folder / checkpoint_name(2))
    assert (saving.value.errno, retiring.value.errno) == (code, code)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert problems(folder, at_least=2) == []


def test_a_folder_behind_a_symbolic_link_is_a_folder(tmp_path: Path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real", target_is_directory=True)
    for step in (1, 2, 3):
        save(link, step, keep=2, filesystem=Unsynced())
    assert problems(link, at_least=3) == []
    assert [entry.step for entry in list_checkpoints(tmp_path / "real")] == [2, 3]
    removed = retire(tmp_path / "real", RUN, [KeepLast(1)], link / checkpoint_name(3))
    assert [path.name for path in removed] == [checkpoint_name(2)], "the successor is the same file on both ways"


def test_a_symbolic_link_as_target_is_replaced_and_its_file_left_alone(tmp_path: Path):
    other = commit(tmp_path, 1)
    content = other.read_bytes()
    link = tmp_path / checkpoint_name(2)
    for aim in (other.name, "nowhere"):
        link.symlink_to(aim)
        with pytest.raises(OverwriteError):
            commit(tmp_path, 2)
        assert link.is_symlink()
        commit(tmp_path, 2, overwrite=True)
        assert not link.is_symlink()
        assert problems_of(link) == []
        link.unlink()
    assert other.read_bytes() == content


def test_symbolic_links_in_a_folder_are_no_checkpoints(tmp_path: Path):
    save(tmp_path, 1, filesystem=Unsynced())
    (tmp_path / "elsewhere").mkdir()
    commit(tmp_path / "elsewhere", 9)
    (tmp_path / checkpoint_name(9)).symlink_to(Path("elsewhere", checkpoint_name(9)))
    (tmp_path / checkpoint_name(8)).symlink_to(checkpoint_name(8))  # to itself
    assert [entry.step for entry in list_checkpoints(tmp_path)] == [1]
    assert newest_verified(tmp_path)[0] == tmp_path / checkpoint_name(1)
    retire(tmp_path, RUN, [KeepLast(0)], tmp_path / checkpoint_name(1))
    assert (tmp_path / "elsewhere" / checkpoint_name(9)).exists()


def test_a_clock_set_back_changes_nothing(tmp_path: Path):
    """Steps decide, never times: neither those of the files nor those in the records."""
    for step, created in ((1, "2036-01-01T00:00:00+00:00"), (2, "2001-01-01T00:00:00+00:00"), (3, "1970-01-01")):
        path = tmp_path / checkpoint_name(step)
        state = {"model": {"w": torch.full((2,), float(step))}, "position": {"step": step}}
        record = CheckpointRecord(RUN, step, created=created)
        save_checkpoint(path, state, options_yaml="", record=record, filesystem=Unsynced())
        os.utime(path, (4e9 - 1e9 * step, 4e9 - 1e9 * step))
    assert problems(tmp_path, at_least=3) == []
    assert newest_verified(tmp_path)[0] == tmp_path / checkpoint_name(3)
    assert [entry.step for entry in list_checkpoints(tmp_path)] == [1, 2, 3]
    removed = retire(tmp_path, RUN, [KeepLast(2)], tmp_path / checkpoint_name(3))
    assert removed == [tmp_path / checkpoint_name(1)]


UNUSUAL = [
    "Gewichte größer.ckpt",
    "重み-モデル.ckpt",
    "أوزان.ckpt",
    "🧭.ckpt",
    "a\u0301\u00e1.ckpt",  # the same letter in two forms
    " .ckpt",
    "-o.ckpt",
    "two\nlines\t.ckpt",
    "quote'\"\\%s{}.ckpt",
    "é" * 125 + ".ckpt",  # 255 bytes
]


@pytest.mark.parametrize("name", UNUSUAL, ids=ascii)
def test_names_of_files_may_be_anything_that_the_system_takes(tmp_path: Path, name: str):
    folder = tmp_path / name.removesuffix(".ckpt")
    folder.mkdir()
    check_name(folder / name)


def check_name(path: Path) -> None:
    """Save under a name, read it back, mark it as the latest, and fail to save again."""
    state = {"model": {"w": torch.ones(2)}}
    record = CheckpointRecord(RUN, 1)
    save_checkpoint(path, state, options_yaml="", record=record, filesystem=Unsynced())
    mark_latest(path, filesystem=Unsynced())
    assert path.with_name("latest").read_bytes() == os.fsencode(path.name) + b"\n"
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([path.name, "latest"])
    assert newest_verified(path.parent)[0] == path
    with pytest.raises(OverwriteError, match="a file of that name exists"):
        save_checkpoint(path, state, options_yaml="", record=record)
    retire(path.parent, RUN, [KeepLast(1)], path)
    with load_checkpoint(path) as checkpoint:
        assert checkpoint.state("model")["w"].tolist() == [1.0, 1.0]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes names that are no text")
@pytest.mark.parametrize("raw", [b"\xff\xfe.ckpt", b"a" * 238 + "é".encode() * 5 + b".ckpt"], ids=["bytes", "cut"])
def test_names_that_are_no_text_work_too(tmp_path: Path, raw: bytes):
    check_name(tmp_path / os.fsdecode(raw))


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "x" * 5000], ids=["256", "two bytes each", "5000"])
def test_an_over_long_name_is_an_error_and_leaves_nothing(tmp_path: Path, name: str):
    with pytest.raises(CommitError, match="File name too long") as caught:
        write_archive(tmp_path / name, kind="k", components={"m": {"w": torch.ones(2)}})
    assert caught.value.errno == errno.ENAMETOOLONG
    assert list(tmp_path.iterdir()) == []


def test_an_over_long_path_is_an_error(tmp_path: Path):
    with pytest.raises(CommitError, match=r"could not create the draft of .*File name too long"):
        commit(tmp_path.joinpath(*["d" * 200] * 30), 1)


def test_names_of_tensors_may_be_any_text(tmp_path: Path):
    names = ["größe", "重み.0", "a/b", "..", "", " ", "a.b", "x" * 100_000, "\u202e", "\n", "\0", "🧭", "__metadata__"]
    tree = {name: torch.full((2,), float(number)) for number, name in enumerate(names)}
    path = tmp_path / "x.ckpt"
    write_archive(path, kind="k", components={"m": {**tree, "a": {"b": torch.zeros(1)}}})
    with Archive.open(path) as archive:
        assert archive.verify() == []
        loaded = archive.tree("m")
    assert list(loaded) == [*names, "a"]
    assert all(loaded[name].eq(number).all() for number, name in enumerate(names))


def test_text_that_is_no_unicode_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(UnsavableError, match="expected valid Unicode"):
        write_archive(tmp_path / "x", kind="k", components={"m": {"\udcff": torch.ones(1)}})
    for name in ("x" * 1025, "a/" + "x" * 256, "../x", "größe\0"):
        with pytest.raises(UnsavableError, match="could not save file"):
            write_archive(tmp_path / "x", kind="k", components={}, files={name: b""})
    assert list(tmp_path.iterdir()) == []


def test_drafts_of_others_are_never_listed(tmp_path: Path):
    save(tmp_path, 1, filesystem=Unsynced())
    draft = tmp_path / f".{checkpoint_name(7)}.0123abcd.draft"
    shutil.copy(tmp_path / checkpoint_name(1), draft)
    assert is_draft(draft)
    assert [entry.path.name for entry in list_checkpoints(tmp_path)] == [checkpoint_name(1)]
    retire(tmp_path, RUN, [KeepLast(1)], tmp_path / checkpoint_name(1))
    assert draft.exists(), "another process may be writing it"
