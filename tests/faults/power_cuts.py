"""What may be on the disk after a power cut: record the calls of a save, then make every state they allow.

The model is at least as lenient as ext4 and follows POSIX, in the way of T. S. Pillai et al., All file systems are
not created equal (ALICE), OSDI 2014:

- What was written before the last fsync of a file that returned is there.
- Of later writes each page of 4 KiB is there or not by itself, in any version that it had since; a page that was never
  written to the device reads as zeros where the file's length covers it. The length is any that the file had since, or
  a multiple of 4 KiB between.
- A change of names made before the last fsync of the folder that returned is there. Each later one is there or not by
  itself, in any order of arrival; the two halves of a rename (the new name, the end of the old one) as well.
- Nothing else changes. An fsync of a file says nothing about its name.

The cut comes after any call; a call that had begun and not returned is like one that returned and was not flushed.
"""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from faults.injection import Unsynced

PAGE = 4096


@dataclass(frozen=True)
class Written:
    """Bytes were written into a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Synced:
    """An fsync of a file returned."""

    file: int


@dataclass(frozen=True)
class Named:
    """A name came to stand for a file."""

    name: str
    file: int


@dataclass(frozen=True)
class Removed:
    """A name went."""

    name: str


@dataclass(frozen=True)
class FolderSynced:
    """An fsync of the folder returned."""


@dataclass(frozen=True)
class Returned:
    """A save returned: from here on its checkpoint must survive."""

    step: int


Event = Written | Synced | Named | Removed | FolderSynced | Returned


class Recorder(Unsynced):
    """Make the calls in one folder, and note what each does to the disk; `omitted` calls are claimed and not made."""

    def __init__(self, folder: Path, omitted: frozenset[str] = frozenset()) -> None:
        self.events: list[Event] = []
        self.initial: Mapping[str, bytes] = {path.name: path.read_bytes() for path in folder.iterdir()}
        self._omitted = omitted
        self._numbers = itertools.count(len(self.initial))
        self._files = {name: number for number, name in enumerate(self.initial)}
        self._open: dict[int, int] = {}
        self._positions: dict[int, int] = {}

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._open[descriptor] = self._files[path.name] = next(self._numbers)
        self._positions[descriptor] = 0
        self.events.append(Named(path.name, self._files[path.name]))
        return descriptor

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        count = super().write(descriptor, data)
        self.events.append(Written(self._open[descriptor], self._positions[descriptor], bytes(data[:count])))
        self._positions[descriptor] += count
        return count

    def seek(self, descriptor: int, offset: int, whence: int) -> int:
        self._positions[descriptor] = super().seek(descriptor, offset, whence)
        return self._positions[descriptor]

    def fsync(self, descriptor: int) -> None:
        if "fsync" not in self._omitted:
            self.events.append(Synced(self._open[descriptor]))

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self._name(target.name, self._files[source.name])

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self._name(target.name, self._files.pop(source.name))
        self.events.append(Removed(source.name))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        del self._files[path.name]
        self.events.append(Removed(path.name))

    def fsync_directory(self, folder: Path) -> None:
        if "fsync_directory" not in self._omitted:
            self.events.append(FolderSynced())

    def returned(self, step: int) -> None:
        """Note that the save of a step returned."""
        self.events.append(Returned(step))

    def _name(self, name: str, file: int) -> None:
        self._files[name] = file
        self.events.append(Named(name, file))


@dataclass
class Content:
    """One file: what is surely there, and what was written since."""

    sure: bytes = b""
    since: list[Written] = field(default_factory=list[Written])

    def versions(self) -> list[bytes]:
        """List what the file was after each write since it was surely there; the last is what a reader saw."""
        found = [bytearray(self.sure)]
        for write in self.since:
            content = bytearray(found[-1])
            content.extend(bytes(max(0, write.offset - len(content))))
            content[write.offset : write.offset + len(write.data)] = write.data
            found.append(content)
        return [bytes(content) for content in found]

    def after_a_cut(self, limit: int, rng: random.Random) -> list[bytes]:
        """List what the file may hold, at most about `limit` different contents of them."""
        versions = self.versions()
        sizes = _sizes(versions)
        pages = [_page_versions(versions, page) for page in range(-(-sizes[-1] // PAGE))]
        if len(sizes) * _product(pages) <= limit:
            choices: Iterator[tuple[bytes, ...]] = itertools.product(*pages)
            whole = [b"".join(choice) for choice in choices]
        else:
            whole = _telling(pages) + [b"".join(map(rng.choice, pages)) for _ in range(limit)]
        contents = versions + [content[:size] for content in whole for size in sizes]
        distinct = list(dict.fromkeys(contents))
        return distinct if len(distinct) <= limit else distinct[: len(versions)] + rng.sample(distinct, limit)


def _sizes(versions: list[bytes]) -> list[int]:
    ends = {len(version) for version in versions}
    return sorted(ends | set(range(-(-min(ends) // PAGE) * PAGE, max(ends), PAGE)))


def _page_versions(versions: list[bytes], page: int) -> list[bytes]:
    cut = [version[page * PAGE : (page + 1) * PAGE].ljust(PAGE, b"\0") for version in versions]
    return list(dict.fromkeys(reversed(cut)))  # the newest first


def _telling(pages: list[list[bytes]]) -> list[bytes]:
    """Pick the contents most likely to mislead: one page stale, one page new, all but the end, nothing."""
    newest, oldest = [page[0] for page in pages], [page[-1] for page in pages]
    picked = [newest, oldest]
    for number in range(len(pages)):
        picked.append([*newest[:number], oldest[number], *newest[number + 1 :]])
        picked.append([*oldest[:number], newest[number], *oldest[number + 1 :]])
        picked.append([*newest[:number], *oldest[number:]])
    return [b"".join(content) for content in picked]


def _product(pages: list[list[bytes]]) -> int:
    total = 1
    for page in pages:
        total *= len(page)
    return total


@dataclass(frozen=True)
class Disk:
    """One state that a cut may leave: the folder's files by name; what had been promised by then."""

    cut: int
    promised: int
    files: Mapping[str, bytes]

    def put(self, folder: Path) -> Path:
        """Write the state into a folder, and remove what else is there."""
        for path in folder.iterdir():
            if path.name not in self.files:
                path.unlink()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


def states(recorder: Recorder, limit: int, promised: int = 0) -> Iterator[Disk]:
    """List the states after a cut behind every event, about `limit` for each set of names at each cut.

    `promised` is the step whose save had returned before the recording. Above the limit states are drawn, the same ones
    each time.
    """
    for cut in range(len(recorder.events) + 1):
        rng = random.Random(cut)
        contents, names, pending = _replay(recorder, cut)
        steps = [event.step for event in recorder.events[:cut] if isinstance(event, Returned)]
        for choice in _names_after_a_cut(names, pending):
            for files in _files_after_a_cut(choice, contents, limit, rng):
                yield Disk(cut, max([promised, *steps]), files)


def _replay(recorder: Recorder, cut: int) -> tuple[dict[int, Content], dict[str, int], list[Named | Removed]]:
    """Return the files, the names that are surely there, and the changes of names since, as of a cut."""
    contents = {number: Content(data) for number, data in enumerate(recorder.initial.values())}
    names = {name: number for number, name in enumerate(recorder.initial)}
    pending: list[Named | Removed] = []
    for event in recorder.events[:cut]:
        if isinstance(event, Written):
            contents.setdefault(event.file, Content()).since.append(event)
        elif isinstance(event, Synced):
            contents[event.file] = Content(contents.get(event.file, Content()).versions()[-1])
        elif isinstance(event, Named | Removed):
            pending.append(event)
        elif isinstance(event, FolderSynced):
            names, pending = _renamed(names, pending), []
    return contents, names, pending


def _renamed(names: Mapping[str, int], changes: list[Named | Removed]) -> dict[str, int]:
    result = dict(names)
    for change in changes:
        if isinstance(change, Named):
            result[change.name] = change.file
        else:
            result.pop(change.name, None)
    return result


def _names_after_a_cut(names: Mapping[str, int], pending: list[Named | Removed]) -> list[dict[str, int]]:
    """Apply every subset of the pending changes."""
    found = [
        _renamed(names, list(itertools.compress(pending, chosen)))
        for chosen in itertools.product((True, False), repeat=len(pending))
    ]
    return list({tuple(sorted(choice.items())): choice for choice in found}.values())


def _files_after_a_cut(
    names: Mapping[str, int], contents: Mapping[int, Content], limit: int, rng: random.Random
) -> Iterator[dict[str, bytes]]:
    """Combine what each named file may hold."""
    numbers = sorted(set(names.values()))
    variants = [contents.get(number, Content()).after_a_cut(limit, rng) for number in numbers]
    total = 1
    for variant in variants:
        total *= len(variant)
    if total <= limit:
        combinations: Iterator[tuple[bytes, ...]] = itertools.product(*variants)
    else:
        combinations = (tuple(map(rng.choice, variants)) for _ in range(limit))
    for combination in combinations:
        held = dict(zip(numbers, combination, strict=True))
        yield {name: held[number] for name, number in names.items()}
