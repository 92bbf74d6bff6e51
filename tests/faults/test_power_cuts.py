"""After a power cut at any call, in every state that the disk may be in, the promise holds.

And the checker is checked: protocols with one thing wrong are caught.
"""

import errno
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.injection import Unsynced
from faults.power_cuts import Content, Disk, Recorder, Returned, Written, states
from faults.sequence import commit, problems, save
from milepost.archive import FileSystem, is_draft
from milepost.checkpoint import checkpoint_name, discard_drafts

FEW, MANY = 16, 600
Protocol = Callable[[Path, Recorder], None]


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small file take several writes."""
    monkeypatch.setattr("milepost.archive.commit._BUFFER_BYTES", 6000)


class NoLinks(Recorder):
    """A file system without hard links: new files come by rename too."""

    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")


def two_saves(folder: Path, recorder: Recorder) -> None:
    """Save two new steps, each of them all that is kept."""
    for step in (2, 3):
        save(folder, step, filesystem=recorder, committed=recorder.returned)


def same_name_again(folder: Path, recorder: Recorder) -> None:
    """Replace the only checkpoint by a later save of the same step, then go on."""
    save(folder, 1, overwrite=True, filesystem=recorder, committed=recorder.returned)
    save(folder, 2, overwrite=True, filesystem=recorder, committed=recorder.returned)


PROTOCOLS = {"new": (two_saves, Recorder), "replacing": (same_name_again, Recorder), "no links": (two_saves, NoLinks)}


def recorded(folder: Path, protocol: Protocol, kind: type[Recorder] = Recorder, *omitted: str) -> Recorder:
    """Run a protocol in a folder that holds step 1."""
    folder.mkdir()
    save(folder, 1, filesystem=Unsynced())
    recorder = kind(folder, frozenset(omitted))
    protocol(folder, recorder)
    return recorder


def broken(recorder: Recorder, scratch: Path, limit: int) -> tuple[int, tuple[Disk, list[str]] | None]:
    """Check every state; return how many were checked and the first that breaks the promise."""
    scratch.mkdir()
    checked, continued = 0, set[frozenset[str]]()
    for checked, disk in enumerate(states(recorder, limit, promised=1), start=1):
        found = problems(disk.put(scratch), at_least=disk.promised)
        kinds = frozenset(_kind(name) for name in disk.files)
        if not found and kinds not in continued:
            continued.add(kinds)
            found = problems_of_going_on(scratch)
        if found:
            return checked, (disk, found)
    return checked, None


def _kind(name: str) -> str:
    return "draft" if is_draft(Path(name)) else name


def problems_of_going_on(folder: Path) -> list[str]:
    """Do what the next process does: clear away drafts, save further, retire."""
    discard_drafts(folder, filesystem=Unsynced())
    save(folder, 9, overwrite=True, filesystem=Unsynced())
    left = sorted(path.name for path in folder.iterdir())
    expected = sorted([checkpoint_name(9), "latest"])
    return problems(folder, at_least=9) + ([] if left == expected else [f"expected {expected}, found {left}"])


def hold(tmp_path: Path, name: str, limit: int, at_least: int) -> None:
    protocol, kind = PROTOCOLS[name]
    recorder = recorded(tmp_path / "saved", protocol, kind)
    checked, fault = broken(recorder, tmp_path / "cut", limit)
    print(f"{name}: {checked} states after {len(recorder.events) + 1} cuts")
    assert fault is None, (recorder.events[: fault[0].cut], fault[1])
    assert checked > at_least


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_state_after_a_cut_has_a_sound_checkpoint(tmp_path: Path, name: str):
    hold(tmp_path, name, FEW, 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new", "replacing"])
def test_many_more_states_after_a_cut_have_a_sound_checkpoint(tmp_path: Path, name: str):
    hold(tmp_path, name, MANY, 2000)


def retired_first(folder: Path, recorder: Recorder) -> None:
    """Remove the old checkpoint before the new one is committed."""
    recorder.unlink(folder / checkpoint_name(1))
    save(folder, 2, filesystem=recorder, committed=recorder.returned)


def durable_against_kills_only(folder: Path, recorder: Recorder) -> None:
    """Ask for less, and retire all the same."""
    save(folder, 2, durability="process", filesystem=recorder, committed=recorder.returned)


def written_in_place(folder: Path, recorder: Recorder) -> None:
    """Write the new checkpoint under its final name, with an fsync at the end."""

    class InPlace(FileSystem):
        def create(self, path: Path) -> int:
            return recorder.create(folder / checkpoint_name(2))

        def link(self, source: Path, target: Path) -> None:
            """Have nothing to do."""

        def __getattribute__(self, name: str):
            return super().__getattribute__(name) if name in ("create", "link", "unlink") else getattr(recorder, name)

        def unlink(self, path: Path) -> None:
            """Have nothing to do."""

    commit(folder / "nowhere", 2, filesystem=InPlace())


def flushed_after_the_rename(folder: Path, recorder: Recorder) -> None:
    """Give the file its name first and flush it then."""

    class Late(FileSystem):
        def fsync(self, descriptor: int) -> None:
            self.descriptor = descriptor

        def close(self, descriptor: int) -> None:
            """Keep it open: it is flushed later."""

        def link(self, source: Path, target: Path) -> None:
            recorder.link(source, target)
            recorder.fsync(self.descriptor)
            recorder.close(self.descriptor)

        def __getattribute__(self, name: str):
            own = ("fsync", "close", "link", "descriptor", "__dict__", "__class__")
            return super().__getattribute__(name) if name in own else getattr(recorder, name)

    commit(folder, 2, filesystem=Late())


BROKEN: dict[str, tuple[Protocol, tuple[str, ...], str]] = {
    "no fsync of the file": (two_saves, ("fsync",), "damaged|opened"),
    "no fsync of the folder": (two_saves, ("fsync_directory",), "no checkpoint is sound|not that of step"),
    "no fsync at all": (two_saves, ("fsync", "fsync_directory"), "."),
    "retired before the commit": (retired_first, (), "no checkpoint is sound"),
    "durable against kills only": (durable_against_kills_only, (), "."),
    "written in place": (written_in_place, (), "damaged|opened"),
    "flushed after the rename": (flushed_after_the_rename, (), "damaged|opened"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_protocol_is_caught(tmp_path: Path, name: str):
    protocol, omitted, expected = BROKEN[name]
    recorder = recorded(tmp_path / "saved", protocol, Recorder, *omitted)
    _, fault = broken(recorder, tmp_path / "cut", FEW)
    assert fault is not None
    assert any(re.search(expected, text) for text in fault[1]), fault[1]


def test_the_states_contain_the_old_the_new_and_the_torn(tmp_path: Path):
    recorder = recorded(tmp_path / "saved", two_saves)
    found = list(states(recorder, FEW))
    assert found[0].files == recorder.initial
    assert found[-1].cut == len(recorder.events)
    drafts = {len(data) for disk in found for name, data in disk.files.items() if is_draft(Path(name))}
    assert {0, 4096, 8192} <= drafts
    assert [disk.files for disk in states(recorder, FEW)] == [disk.files for disk in found]
    assert {event.step for event in recorder.events if isinstance(event, Returned)} == {2, 3}


def test_an_unsynced_page_is_old_new_or_zero_and_the_length_any():
    content = Content(b"a" * 5000, [Written(0, 5000, b"b" * 5000), Written(0, 10, b"c")])
    found = set(content.after_a_cut(10**6, random.Random(0)))
    old, new = content.versions()[0], content.versions()[-1]
    assert {old, new, content.versions()[1]} <= found
    assert old[:4096] + new[4096:] in found
    assert new[:8192] in found
    assert new[:4096] + old[4096:].ljust(4096, b"\0") + new[8192:] in found
    assert new[:8192] + bytes(len(new) - 8192) in found
    assert all(len(data) >= 5000 for data in found), "what was flushed keeps its length"
    assert all(data[11:5000] == b"a" * 4989 for data in found), "and its bytes where nothing was written"
