"""Every file that was named has a verdict; a folder stands for what is ours in it."""

import os
import shutil
from pathlib import Path

import pytest

from milepost.archive import Archive, write_archive
from milepost.archive.verifying import Verdict, verify_paths


def save(path: Path, text: bytes = b"seed: 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_archive(path, kind="checkpoint", components={"x": [1]}, files={"a.txt": text}, durability="process")
    return path


def damage(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[content.index(b"seed: 1\n")] ^= 1
    path.write_bytes(content)
    return path


def states(*names: Path | str) -> list[tuple[str, str]]:
    return [(verdict.path.name, verdict.state) for verdict in verify_paths(names)]


def test_a_sound_file_is_identified(tmp_path: Path) -> None:
    path = save(tmp_path / "a.bin")
    (verdict,) = verify_paths([path])
    assert verdict.state == "sound"
    assert verdict.kind == "checkpoint"
    assert verdict.digest is not None
    assert verdict.digest.startswith("blake3:")
    assert verdict.damages == ()
    assert verdict.reason is None


def test_damage_names_the_entry(tmp_path: Path) -> None:
    (verdict,) = verify_paths([damage(save(tmp_path / "a.ckpt"))])
    assert verdict.state == "damaged"
    assert [(found.entry, found.tensor) for found in verdict.damages] == [("a.txt", None)]
    assert verdict.damages[0].reason.startswith("expected digest ")


def test_damage_names_the_tensor(small: Path) -> None:
    content = bytearray(small.read_bytes())
    content[content.index(b"\0\0\x80\x3f\0\0\x80\x3f")] ^= 1  # in `bias`, two ones
    small.write_bytes(content)
    (verdict,) = verify_paths([small])
    assert [(found.entry, found.tensor) for found in verdict.damages] == [("model.safetensors", "bias")]


def test_a_file_that_cannot_be_opened_has_a_reason(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt")
    path.write_bytes(path.read_bytes()[:-10])
    other = tmp_path / "b.txt"
    other.write_text("hello")
    newer = save(tmp_path / "c.ckpt")
    newer.write_bytes(newer.read_bytes().replace(b"milepost-archive 0001 ", b"milepost-archive 0099 "))
    assert list(verify_paths([path, other, newer])) == [
        Verdict(
            path,
            "damaged",
            reason="its last bytes are missing or changed: it was truncated, extended or changed. "
            "Use an earlier file or another copy.",
        ),
        Verdict(
            other,
            "not ours",
            reason="expected a Milepost archive, found another format. Give the path of a file that Milepost wrote.",
        ),
        Verdict(
            newer,
            "too new",
            reason="expected an archive of format version 1 at most, found 99. "
            "Install a version of milepost that reads format version 99.",
        ),
    ]


def test_a_folder_stands_for_what_is_ours_below_it(tmp_path: Path) -> None:
    save(tmp_path / "run" / "checkpoints" / "step-1.ckpt")
    save(tmp_path / "run" / "moved.bin")
    damage(save(tmp_path / "run" / "bad.bin"))
    (tmp_path / "run" / "options.yaml").write_text("seed: 1\n")
    (tmp_path / "run" / "foreign.ckpt").write_bytes(b"\x80\x02")
    (tmp_path / "run" / ".step-2.ckpt.01234567.draft").write_bytes(b"half")
    os.mkfifo(tmp_path / "run" / "pipe")
    (tmp_path / "elsewhere").mkdir()
    save(tmp_path / "elsewhere" / "step-9.ckpt")
    (tmp_path / "run" / "link").symlink_to("../elsewhere")
    (tmp_path / "run" / "latest.ckpt").symlink_to("moved.bin")
    assert states(tmp_path / "run") == [
        ("bad.bin", "damaged"),
        ("foreign.ckpt", "not ours"),
        ("latest.ckpt", "sound"),
        ("moved.bin", "sound"),
        ("step-1.ckpt", "sound"),
    ]


def test_each_name_has_one_verdict_and_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a"
    first = save(folder / "1.ckpt")
    damage(save(folder / "2.ckpt", b"seed: 1\nmore"))
    (folder / "3.ckpt").symlink_to("1.ckpt")
    os.link(first, folder / "4.ckpt")
    (tmp_path / "b").symlink_to("a")
    opened: list[str] = []
    whole = Archive.open
    monkeypatch.setattr(Archive, "open", lambda path: opened.append(path.name) or whole(path))
    monkeypatch.chdir(tmp_path)
    names = ["a", "./a", folder, "a/../a", "b", "a/1.ckpt", "b/2.ckpt", "*/3.ckpt"]
    assert [(str(verdict.path), verdict.state, len(verdict.damages)) for verdict in verify_paths(names)] == [
        ("a/1.ckpt", "sound", 0),
        ("a/2.ckpt", "damaged", 1),
        ("a/3.ckpt", "sound", 0),
        ("a/4.ckpt", "sound", 0),
    ]
    assert opened == ["1.ckpt", "2.ckpt"]


def test_a_file_that_takes_the_place_of_another_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").symlink_to("a.ckpt")
    found = verify_paths([tmp_path])
    assert next(found).state == "sound"
    damage(path)
    assert next(found).state == "damaged"


def test_an_empty_path_is_not_the_folder_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.ckpt")
    monkeypatch.chdir(tmp_path)
    (verdict,) = verify_paths([""])
    assert (verdict.state, verdict.reason) == ("missing", "expected a path, found an empty one. Check the path.")


def test_a_pattern_stands_for_all_that_it_matches(tmp_path: Path) -> None:
    for name in ("a/1.ckpt", "a/b/2.ckpt", "c/3.ckpt"):
        save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("hello")
    assert states(tmp_path / "**" / "*.ckpt") == [("1.ckpt", "sound"), ("2.ckpt", "sound"), ("3.ckpt", "sound")]
    assert states(tmp_path / "[ab]" / "?.ckpt") == [("1.ckpt", "sound")]
    assert states(tmp_path / "a" / "*.txt") == [("notes.txt", "not ours")]
    assert states(tmp_path / "a*") == [("1.ckpt", "sound"), ("2.ckpt", "sound")]


def test_a_name_that_looks_like_a_pattern_is_a_name_first(tmp_path: Path) -> None:
    save(tmp_path / "[a].ckpt")
    save(tmp_path / "a.ckpt")
    assert states(tmp_path / "[a].ckpt") == [("[a].ckpt", "sound")]


def test_a_file_is_verified_once(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt")
    assert states(path, tmp_path, tmp_path / "*", path) == [("a.ckpt", "sound")]


def test_a_file_that_a_folder_passes_over_is_verified_when_it_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt")
    (tmp_path / "b.txt").write_text("hello")
    assert states(tmp_path, tmp_path / "b.txt") == [("a.ckpt", "sound"), ("b.txt", "not ours")]


def test_nothing_found_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    names = [tmp_path / "none.ckpt", tmp_path / "empty", tmp_path / "*.ckpt"]
    assert [(verdict.path, verdict.state, verdict.reason) for verdict in verify_paths(names)] == [
        (
            names[0],
            "missing",
            f"expected a file, a folder or a pattern, found nothing at '{names[0]}'. Check the path.",
        ),
        (
            names[1],
            "missing",
            f"expected files that milepost wrote below the folder '{names[1]}', found none. Check the path.",
        ),
        (names[2], "missing", f"expected files that match '{names[2]}', found none. Check the pattern."),
    ]


def test_a_link_that_leads_nowhere_is_unreadable_when_it_is_named(tmp_path: Path) -> None:
    link = tmp_path / "last.ckpt"
    link.symlink_to("gone.ckpt")
    assert list(verify_paths([link])) == [Verdict(link, "unreadable", reason="No such file or directory")]
    assert states(tmp_path) == [("last.ckpt", "unreadable")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "closed" / "a.ckpt")
    path.chmod(0)
    assert states(path) == [("a.ckpt", "unreadable")]
    path.parent.chmod(0)
    try:
        assert list(verify_paths([tmp_path])) == [Verdict(path.parent, "unreadable", reason="Permission denied")]
    finally:
        path.parent.chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "run" / "closed"
    closed.mkdir(parents=True)
    save(tmp_path / "run" / "a.ckpt")
    scandir, listdir = os.scandir, os.listdir

    def refuse(path: str) -> None:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) or scandir(path))
    monkeypatch.setattr(os, "listdir", lambda path: refuse(path) or listdir(path))
    assert list(verify_paths([tmp_path]))[1:] == [Verdict(closed, "unreadable", reason="Permission denied")]


def test_a_file_that_is_retired_meanwhile_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt")
    shutil.copy(tmp_path / "a.ckpt", tmp_path / "b.ckpt")
    found = verify_paths([tmp_path])
    assert next(found).path.name == "a.ckpt"
    (tmp_path / "b.ckpt").unlink()
    assert list(found) == []
