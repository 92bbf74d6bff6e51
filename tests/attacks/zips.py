"""Attacks by the zip file around the pickle, refused with exactly these reasons."""

import zipfile
from pathlib import Path

from attacks.assembly import program, renamed, tensor, text, torch_zip, with_field
from attacks.attack import Attack, Make


def with_entry(entry: str, data: bytes = b"x") -> Make:
    """Make a good file and add an entry."""

    def make(path: Path, marker: Path) -> None:
        torch_zip(path, program(b"N"))
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(entry, data)

    return make


def patched(entry: int, *changes: tuple[int, int]) -> Make:
    """Make a good file and change fields of a record of its directory."""

    def make(path: Path, marker: Path) -> None:
        torch_zip(path, program(tensor()))
        for position, value in changes:
            with_field(path, entry, position, value)

    return make


def bomb(path: Path, marker: Path) -> None:
    """Compress a gigabyte of nothing, a thousand to one."""
    torch_zip(path, program(b"N" + b"0N" * 2**19), compressed=True)


def duplicate(path: Path, marker: Path) -> None:
    """Give two entries one name."""
    torch_zip(path, program(b"N"), {"0": b"a", "1": b"b"})
    renamed(path, b"archive/data/1", b"archive/data/0")


def two_names(path: Path, marker: Path) -> None:
    """Let the local header name another entry than the directory."""
    torch_zip(path, program(b"N"))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"archive/data.pkl", b"archive/evil.pkl", 1))


def flipped(path: Path, marker: Path) -> None:
    """Change one bit of the pickle."""
    torch_zip(path, program(text("good")))
    renamed(path, b"good", b"gooe")


def truncated(path: Path, marker: Path) -> None:
    """Cut off the last byte."""
    torch_zip(path, program(b"N"))
    path.write_bytes(path.read_bytes()[:-1])


def cut(path: Path, marker: Path) -> None:
    """Cut off the directory."""
    torch_zip(path, program(b"N"))
    path.write_bytes(path.read_bytes()[:100])


ZIPS = [
    Attack("path-escape", "an entry would be unpacked outside the folder", with_entry("archive/../../evil"),
           "the zip entry 'archive/../../evil' has a path that leaves the archive"),
    Attack("absolute-path", "an entry has an absolute path", with_entry("/etc/cron.d/evil"),
           "the zip entry '/etc/cron.d/evil' has a path that leaves the archive"),
    Attack("second-folder", "two readers could take two different folders", with_entry("other/data.pkl"),
           "expected every zip entry in 'archive/', found 'other/data.pkl'"),
    Attack("bomb", "a small file that decompresses to a large one", bomb,
           "the zip entry 'archive/data.pkl' is compressed, which no tensor file of PyTorch is"),
    Attack("duplicate", "two entries of one name: each reader takes another", duplicate,
           "the zip entry 'archive/data/0' occurs twice"),
    Attack("overlap", "two entries share their bytes, as in the bombs of a thousand layers", patched(2, (16, 0)),
           "two zip entries overlap: they begin at the same byte"),
    Attack("lying-size", "the directory states more bytes than are stored", patched(2, (9, 2**30)),
           "the zip entry 'archive/data/0' lies about its size: 1073741824 bytes stored in 16"),
    Attack("huge-size", "the directory states more bytes than the file has",
           patched(2, (8, 2**30), (9, 2**30)),
           "the zip entry 'archive/data/0' states more bytes than the file has"),
    Attack("into-the-next", "an entry is stated longer, so that it reaches into the next",
           patched(1, (8, 30), (9, 30)),
           "the zip entry 'archive/byteorder' overlaps what follows it"),
    Attack("encrypted", "an entry is encrypted", patched(0, (3, 1)), "the zip entry 'archive/data.pkl' is encrypted"),
    Attack("two-names", "an entry has one name in the directory and one before its data", two_names,
           "the zip entry 'archive/data.pkl' has another local header than the directory states"),
    Attack("flipped", "one bit of the pickle was changed", flipped,
           "archive/data.pkl is damaged: expected CRC-32 CRC, found CRC"),
    Attack("truncated", "the last byte is missing", truncated,
           "it begins as a zip file and has no end record: it is truncated"),
    Attack("cut", "the directory is missing", cut, "it begins as a zip file and has no end record: it is truncated"),
]  # fmt: skip
