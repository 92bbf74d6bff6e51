"""A reader made from the page alone reads what Milepost wrote, and refuses what Milepost refuses."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given

import tiny
from compat import archives, independent_reader, stored_run, trees
from milepost.archive import Archive, digest_of, write_archive
from milepost.archive.layout import FORMAT_VERSION
from milepost.errors import ArchiveError
from unit.archive.conftest import Forgery

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")

FILES = [archives.stored(FORMAT_VERSION), *(stored_run.paths(number)[0] for number in stored_run.numbers())]
NAMED = {"json", "zipfile", "safetensors"}
"""What the reader needs from outside, with torch for what safetensors gives and blake3 where it is installed."""


def assert_same(path: Path) -> independent_reader.Contents:
    """Compare everything that both readers find in a file."""
    found = independent_reader.read(path)
    with Archive.open(path) as archive:
        manifest = archive.manifest
        assert archive.verify() == []
        assert (found.kind, found.digest) == (manifest.kind, archive.digest)
        assert trees.described(found.keys) == trees.described(dict(manifest.extra))
        assert list(found.components) == list(manifest.components)
        for name, tree in found.components.items():
            assert trees.described(tree) == trees.described(archive.tree(name)), name
        assert found.files == {name: archive.file(name) for name in manifest.files}
    return found


def test_it_imports_nothing_of_milepost() -> None:
    tree = ast.parse(Path(independent_reader.__file__).read_text("utf-8"))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    }
    assert imported >= NAMED
    assert imported - NAMED == {"torch", "blake3", "dataclasses", "pathlib", "typing", "unicodedata", "zlib"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_it_reads_the_stored_files(path: Path) -> None:
    assert assert_same(path).digests_checked


def test_it_reads_everything_that_a_tree_may_hold() -> None:
    found = independent_reader.read(archives.stored(FORMAT_VERSION))
    assert trees.described(found.components["everything"]) == trees.described(archives.tree())
    assert found.files["options.yaml"] == "seed: 1 # é\n".encode()
    assert found.keys["counts"] == {3: (1, 2)}


def test_it_reads_a_trained_model() -> None:
    found = assert_same(tiny.checkpoint())
    assert found.keys["versions"]["training_state"] == 1
    assert isinstance(found.components["model"]["network.embedding"], torch.Tensor)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("independent")


@given(tree=trees.trees())
def test_it_reads_any_tree(folder: Path, tree: Any) -> None:
    path = folder / "x"
    write_archive(path, kind="test", components={"c": tree, "d": [tree]}, durability="process", overwrite=True)
    found = independent_reader.read(path)
    assert trees.described(found.components["c"]) == trees.described(tree)
    assert_same(path)


def test_without_blake3_it_says_that_digests_were_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(independent_reader, "blake3", None)
    assert not assert_same(FILES[0]).digests_checked


@pytest.mark.parametrize("digests", [True, False])
def test_a_flipped_bit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digests: bool) -> None:
    if not digests:
        monkeypatch.setattr(independent_reader, "blake3", None)
    content = FILES[0].read_bytes()
    path = tmp_path / "x"
    # Without BLAKE3 nothing but the digest in the comment is left unchecked: CRC-32 covers the rest.
    end = len(content) if digests else len(content) - 64
    accepted = []
    for at in [*range(100), *range(100, end, 67), *range(end - 200, end)]:
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])
        try:
            independent_reader.read(path)
            accepted.append(at)
        except independent_reader.Refused:
            continue
    assert accepted == []


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    content = FILES[0].read_bytes()
    for size in [0, 1, 93, 94, 95, 190, 191, 192, *range(500, len(content), 997), len(content) - 1]:
        (tmp_path / "x").write_bytes(content[:size])
        with pytest.raises(independent_reader.Refused):
            independent_reader.read(tmp_path / "x")


def structure(text: str) -> Forgery:
    """Forge a component that is this JSON."""
    return Forgery([("m.json", text.encode())], components=["m"])


ROW = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def padded(header: dict[str, Any], data: bytes, tree: str) -> Forgery:
    """Forge a component of tensors whose header has a multiple of 64 bytes."""
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    digests = {name: digest_of(data[slice(*row["data_offsets"])]) for name, row in header.items() if name in "tu"}
    return Forgery(
        [("m.json", tree.encode()), ("m.safetensors", len(text).to_bytes(8, "little") + text + data)],
        components=["m"],
        tensors={"m.safetensors": digests},
    )


FORGERIES: dict[str, Forgery] = {
    "a notation that does not exist": structure('{"$set": []}'),
    "two notations": structure('{"$tuple": [], "$dict": []}'),
    "a notation that is not alone": structure('{"$tuple": [], "a": 1}'),
    "a tuple of no list": structure('{"$tuple": {}}'),
    "a float of no name": structure('{"$float": "NaN"}'),
    "a key twice": structure('{"a": 1, "a": 2}'),
    "a key twice in pairs": structure('{"$dict": [[1, 2], [1, 3]]}'),
    "a key of 65 bits": structure('{"$dict": [[9223372036854775808, 1]]}'),
    "a negative key of 65 bits": structure('{"$dict": [[-9223372036854775809, 1]]}'),
    "more values than memory": structure("[" + "[]," * 2**20 + "[]]"),
    "a key of another type": structure('{"$dict": [[1.0, 2]]}'),
    "a key that is true": structure('{"$dict": [[true, 2]]}'),
    "a pair of three": structure('{"$dict": [[1, 2, 3]]}'),
    "no JSON": structure("{'a': 1}"),
    "a literal NaN": structure("[NaN]"),
    "deep JSON": structure("[" * 130 + "]" * 130),
    "very deep JSON": structure("[" * 100_000 + "]" * 100_000),
    "a tensor that is not there": structure('{"$tensor": "t"}'),
    "a tensor without a place": padded({"t": ROW}, bytes(4), "[]"),
    "one tensor as two types": padded(
        {"t": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}},
        bytes(1),
        '[{"$tensor": "t", "as": "float8_e5m2fnuz"}, {"$tensor": "t"}]',
    ),
    "a type noted for another": padded({"t": ROW}, bytes(4), '{"$tensor": "t", "as": "complex64"}'),
    "a type that does not exist": padded({"t": ROW}, bytes(4), '{"$tensor": "t", "as": "float128"}'),
    "a boolean of 2": padded({"t": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\2", '{"$tensor": "t"}'),
    "a gap": padded({"t": {**ROW, "data_offsets": [4, 8]}}, bytes(8), '{"$tensor": "t"}'),
    "bytes that are no tensor's": padded({"t": ROW}, bytes(8), '{"$tensor": "t"}'),
    "a shape of another size": padded({"t": {**ROW, "shape": [2]}}, bytes(4), '{"$tensor": "t"}'),
    "an overlap": padded({"t": ROW, "u": ROW}, bytes(4), '[{"$tensor": "t"}, {"$tensor": "u"}]'),
    "a path that leaves the folder": Forgery([("../x", b"")]),
    "an absolute path": Forgery([("/x", b"")]),
    "a control character": Forgery([("a\nb", b"")]),
    "a file that is a folder": Forgery([("x", b""), ("x.y", b""), ("x/y", b"")]),
    "a file that is a folder but for case": Forgery([("X", b""), ("x/y", b"")]),
    "two names but for case": Forgery([("é/Ab", b""), ("É/aB", b"")]),
    "two spellings of one letter": Forgery([("\u00e9", b""), ("e\u0301", b"")]),
    "the manifest but for case": Forgery([("Manifest.json", b"")]),
    "an empty segment": Forgery([("a//b", b"")]),
    "a component without a structure": Forgery([], components=["m"]),
    "a component of an odd name": Forgery([("-m.json", b"1")], components=["-m"]),
    "a component twice": Forgery([("m.json", b"1")], components=["m", "m"]),
    "a later version": Forgery([], comment_version=2),
    "two versions": Forgery([], manifest={"format_version": 2}),
    "another algorithm": Forgery([], manifest={"digest_algorithm": "sha256"}),
    "no kind": Forgery([], manifest={"kind": None}),
}
SOUND: dict[str, Forgery] = {
    "an unknown key": Forgery([], manifest={"later": [1]}),
    "metadata of safetensors": padded({"__metadata__": {"a": "b"}, "t": ROW}, bytes(4), '{"$tensor": "t"}'),
    "JSON as deep as allowed": structure("[" * 129 + "]" * 129),
    "pairs where none are needed": structure('{"$dict": [["a", 1]]}'),
    "keys of 64 bits": structure('{"$dict": [[-9223372036854775808, 1], [9223372036854775807, 2]]}'),
    "JSON as large as allowed": structure("[" + "1," * (2**21 - 1) + "1]"),
    "names that share a beginning": Forgery([("x", b""), ("x.y", b""), ("y/x", b""), ("Y/z", b"")]),
    "a tensor": padded({"t": ROW}, bytes(4), '[{"$tensor": "t"}, {"$tensor": "t"}]'),
}


def write(folder: Path, forgery: Forgery) -> Path:
    (folder / "x").write_bytes(forgery.bytes())
    return folder / "x"


@pytest.mark.parametrize("story", FORGERIES)
def test_both_readers_refuse(tmp_path: Path, story: str) -> None:
    path = write(tmp_path, FORGERIES[story])
    with pytest.raises(independent_reader.Refused):
        independent_reader.read(path)
    with pytest.raises(ArchiveError):
        read_with_milepost(path)


def read_with_milepost(path: Path) -> None:
    with Archive.open(path) as archive:
        for name in archive.manifest.components:
            archive.tree(name)


@pytest.mark.parametrize("story", SOUND)
def test_both_readers_accept(tmp_path: Path, story: str) -> None:
    path = write(tmp_path, SOUND[story])
    read_with_milepost(path)
    independent_reader.read(path)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda data: b"PK" + bytes(200), "another kind of file"),
        (lambda data: b"", "another kind of file"),
        (lambda data: data + b" ", "the comment is not an archive's"),
        (lambda data: b" " + data, "the beginning is not an archive's"),
        (lambda data: data.replace(b"archive 0001", b"archive 0002"), "format version 0002 is not known here"),
    ],
)
def test_the_refusal_names_the_rule(tmp_path: Path, change: Callable[[bytes], bytes], rule: str) -> None:
    (tmp_path / "x").write_bytes(change(FILES[0].read_bytes()))
    with pytest.raises(independent_reader.Refused, match=rule):
        independent_reader.read(tmp_path / "x")
