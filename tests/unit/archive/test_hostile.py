"""Files made to mislead get a clear error; all digests in them are right."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from milepost.archive import Archive, digest_of, kind_of, layout
from milepost.errors import (
    ArchiveError,
    DamagedArchiveError,
    HostileArchiveError,
    NotAnArchiveError,
    UnsupportedVersionError,
)


def patched(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Change bytes of the first record of the directory."""
    return lambda data: data[:offset] + value + data[offset + len(value) :]


def placed(which: str, **changes: Any) -> Callable[[layout.Record], layout.Record]:
    return lambda record: replace(record, **changes) if record.name == which else record


def test_the_forger_makes_sound_archives(forge: Any, forgery: Any, forge_tensors: Any):
    with Archive.open(forge(forgery([("f", b"1")]))) as archive:
        assert archive.verify() == []
    header = {"t": {"dtype": "I8", "shape": [2], "data_offsets": [0, 2]}}
    with Archive.open(forge_tensors(header, b"ab")) as archive:
        assert archive.verify() == []
        assert archive.tree("m")["t"].tolist() == [97, 98]


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (
            {"directory": patched(10, b"\x08\x00")},
            "entry 'mimetype' is compressed: expected stored entries only",
        ),
        ({"directory": patched(8, b"\x01\x08")}, "entry 'mimetype' is encrypted"),
        ({"directory": patched(46, b"\xff")}, "is refused: it is not valid Unicode"),
        ({"directory": patched(30, b"\x00\x00")}, "lacks the zip64 field"),
        ({"directory": patched(46 + 8 + 12, b"\x09")}, "declares 9 bytes stored and 30 bytes unpacked"),
        ({"directory": patched(0, b"XX")}, "expected a directory record, found other bytes"),
        ({"directory": lambda data: data + b"hidden"}, "bytes that belong to no entry of the directory"),
        ({"directory": lambda data: data[:-1]}, "lacks the zip64 field"),
        ({"directory": lambda data: data[:50]}, r"declares 3 entries in 50 bytes"),
        ({"record": placed("f", offset=1)}, "entry 'f' overlaps the entry before it"),
        ({"record": placed("f", offset=128)}, r"34 unused bytes before entry 'f'"),
        ({"record": placed("f", size=10**6)}, r"entry 'f' declares 1000000 bytes, more than the file holds"),
        ({"record": placed("f", size=2**64 - 1)}, "more than the file holds"),
        ({"record": placed("manifest.json", size=2**40)}, "more than the file holds"),
        ({"record": placed("f", name="manifest.json")}, "'manifest.json' occurs twice"),
        ({"record": placed("manifest.json", name="other")}, "'manifest.json' as the last"),
        ({"entries": [("f", b"1"), ("f", b"1")]}, "entry 'f' occurs twice"),
    ],
)
def test_a_lying_directory_is_refused(forge: Any, forgery: Any, lie: dict[str, Any], reason: str):
    with pytest.raises(HostileArchiveError, match=reason) as caught:
        Archive.open(forge(forgery(**{"entries": [("f", b"1")], **lie})))
    assert str(caught.value).endswith("get it again from a source that you trust.")


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "a\\b", "c:x", "a//b", "a/", "./a", "a\nb", "x" * 256, "é" * 513]
)
def test_names_that_leave_the_folder_or_hurt_are_refused(forge: Any, forgery: Any, name: str):
    with pytest.raises(HostileArchiveError, match="is refused: "):
        Archive.open(forge(forgery([(name, b"")])))


def test_a_symlink_or_any_other_attribute_is_refused(forge: Any, forgery: Any):
    symlink = patched(38, (0o120777 << 16).to_bytes(4, "little"))
    with pytest.raises(DamagedArchiveError, match="in the zip directory, is not the byte that was written"):
        Archive.open(forge(forgery([("f", b"1")], directory=symlink)))


def test_manifest_and_directory_must_agree(forge: Any, forgery: Any):
    with pytest.raises(DamagedArchiveError, match=r"expected \(entry, size, CRC-32\) \('f', 1, .*\), found \('g', 1"):
        Archive.open(forge(forgery([("f", b"1")], record=placed("f", name="g"))))
    row = {"size": 0, "crc32": "00000000", "digest": "0" * 64}
    with pytest.raises(DamagedArchiveError, match=r"disagree"):
        Archive.open(forge(forgery([], manifest={"entries": {"f": row}})))
    with pytest.raises(HostileArchiveError, match="the manifest lists 0 entries, the zip directory 1"):
        Archive.open(forge(forgery([], manifest={"entries": {}})))


GOOD_ROW = {"size": 0, "crc32": "00000000", "digest": "0" * 64}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"format": "x"}, "expected format 'milepost-archive', found 'x'"),
        ({"digest_algorithm": "md5"}, "expected digest_algorithm 'blake3', found 'md5'"),
        ({"format_version": True}, "expected format_version 1, found True"),
        ({"format_version": 2}, "expected format_version 1, found 2"),
        ({"kind": 1}, "expected kind"),
        ({"entries": []}, "expected kind"),
        ({"components": ["absent"]}, "'absent' is not the name of a component"),
        ({"components": [["f"]]}, "is not the name of a component"),
        ({"components": ["../f"]}, "is not the name of a component"),
        ({"components": ["c", "c"], "entries": {"c.json": GOOD_ROW}}, "a component is named twice"),
        ({"entries": {"manifest.json": GOOD_ROW}}, "it cannot list itself"),
        ({"entries": {"../f": GOOD_ROW}}, "entry name '../f' is refused"),
        ({"entries": {"f": 3}}, "entry 'f': expected a size"),
        ({"entries": {"f": GOOD_ROW | {"size": -1}}}, "expected a size of at most"),
        ({"entries": {"f": GOOD_ROW | {"size": 2**63}}}, "expected a size of at most"),
        ({"entries": {"f": GOOD_ROW | {"crc32": "xyz"}}}, "expected a CRC-32"),
        ({"entries": {"f": GOOD_ROW | {"digest": "F" * 64}}}, "expected a digest of 64"),
        ({"entries": {"f": GOOD_ROW | {"tensors": {"t": "0"}}}}, "expected one digest for each tensor"),
        ({"entries": {"f": GOOD_ROW | {"tensors": {}}}}, "has tensors and is no component's"),
        ({"mine": {"$tensor": "x"}}, "expected no tensors in the manifest"),
        ({"mine": {"$unknown": "x"}}, r"the notation '\$unknown' is not used as the format allows"),
    ],
)
def test_a_lying_manifest_is_refused(forge: Any, forgery: Any, fields: dict[str, Any], reason: str):
    with pytest.raises(HostileArchiveError, match=f"manifest.json breaks the format: .*{reason}"):
        Archive.open(forge(forgery([("f", b"")], manifest=fields)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "at most 128 levels of nesting"),
        (b"[" * 200 + b"]" * 200, "at most 128 levels of nesting"),
        (b'{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        (b'{"a": NaN}', "expected a finite number, found NaN"),
        (b'{"a": -Infinity}', "expected a finite number, found -Infinity"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b'{"a": "\xff"}', "can't decode byte"),
        (b"{", "Expecting property name"),
        (b"[]", "expected a JSON object"),
    ],
)
def test_hostile_json_is_refused(forge: Any, forgery: Any, text: bytes, reason: str):
    with pytest.raises(HostileArchiveError, match=reason):
        Archive.open(forge(forgery([], manifest_text=text)))


def test_huge_documents_are_refused_before_they_are_read(forge: Any, forgery: Any, monkeypatch: pytest.MonkeyPatch):
    path = forge(forgery([("c.json", b"[" + b"1," * 500 + b"1]")], components=["c"]))
    monkeypatch.setattr("milepost.archive.jsontext.MAX_DOCUMENT_BYTES", 900)
    with Archive.open(path) as archive, pytest.raises(HostileArchiveError, match="at most 900 bytes of JSON"):
        archive.tree("c")
    monkeypatch.setattr("milepost.archive.jsontext.MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(HostileArchiveError, match="expected a manifest of at most 100 bytes"):
        Archive.open(path)
    monkeypatch.setattr("milepost.archive.opening._MAX_DIRECTORY_BYTES", 10)
    with pytest.raises(HostileArchiveError, match="expected a directory of at most 10 bytes"):
        Archive.open(path)


def row(dtype: Any = "I8", shape: Any = (2,), offsets: Any = (0, 2)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            {"t": row(), "u": row(offsets=(1, 3))},
            "tensor 'u' overlaps the tensor before it: expected begin 2, found 1",
        ),
        ({"t": row(offsets=(1, 3))}, "tensor 't' leaves a gap before it: expected begin 0, found 1"),
        ({"t": row()}, "the tensors cover 2 bytes of 4"),
        ({"t": row(shape=(3,))}, "tensor 't': expected 3 bytes, found 2"),
        ({"t": row(shape=(2**40, 2**40))}, "is not one that a tensor can have"),
        ({"t": row(shape=(2**63, 0), offsets=(0, 0))}, "is not one that a tensor can have"),
        ({"t": row(shape=(-2,))}, "is not one that a tensor can have"),
        ({"t": row(shape=(True, 2))}, "is not one that a tensor can have"),
        ({"t": row(shape=[1] * 65, offsets=(0, 1))}, "is not one that a tensor can have"),
        ({"t": row(shape="2")}, "is not one that a tensor can have"),
        ({"t": row(dtype="F8")}, "the dtype 'F8' is not one of"),
        ({"t": row(dtype=["I8"])}, "is not one of"),
        ({"t": row(offsets=(2, 0))}, "expected 2 bytes, found -2"),
        ({"t": row(offsets=(0, 1, 2))}, "expected two data_offsets"),
        ({"t": {"dtype": "I8"}}, r"expected dtype, shape and data_offsets, found \['dtype'\]"),
        (b"[]", "expected a JSON object as header"),
        (b"{", "Expecting property name"),
    ],
)
def test_lying_tensor_headers_are_refused(forge_tensors: Any, header: Any, reason: str):
    with Archive.open(forge_tensors(header, b"abcd")) as archive:
        with pytest.raises(HostileArchiveError, match=reason):
            archive.tree("m")
        (damage,) = archive.verify()
        assert damage.entry == "m.safetensors"


def test_a_header_longer_than_its_entry_is_refused(forge: Any, forgery: Any):
    for entry in ((2**60).to_bytes(8, "little") + b"{}", b"\x01"):
        lie = forgery([("m.json", b"{}"), ("m.safetensors", entry)], ["m"], {"m.safetensors": {}})
        with (
            Archive.open(forge(lie)) as archive,
            pytest.raises(DamagedArchiveError, match=r"m\.safetensors: "),
        ):
            archive.tree("m")


@pytest.mark.parametrize(
    ("structure", "reason"),
    [
        ('{"t": 1}', r"structure and tensors disagree about \['t'\]"),
        ('[{"$tensor": "t"}, {"$tensor": "u"}]', r"structure and tensors disagree about \['u'\]"),
        ('{"$tensor": "t", "as": "complex64"}', "noted 'complex64' is stored as F32, found I8"),
        ('{"$tensor": "t", "as": "float8_e8m0fnu"}', "is stored as U8, found I8"),
        ('{"$tensor": "t", "as": "object"}', "the noted dtype 'object' is not one of"),
        ('[{"$tensor": "t"}, {"$tensor": "t", "as": "complex64"}]', "is noted as two different dtypes"),
        ('{"$tensor": "t", "x": 1}', r"the notation '\$tensor'"),
        ('{"$tensor": 1}', r"the notation '\$tensor'"),
        ('[{"$tensor": "t"}, {"$float": "1"}]', r"the notation '\$float'"),
        ('[{"$tensor": "t"}, {"$tuple": 1}]', r"the notation '\$tuple'"),
        ('[{"$tensor": "t"}, {"$dict": [[1, 2], [1, 3]]}]', r"the key 1 occurs twice in one '\$dict'"),
        ('[{"$tensor": "t"}, {"$dict": [["1", 2], ["1", 3]]}]', r"the key '1' occurs twice in one '\$dict'"),
        ('[{"$tensor": "t"}, {"$dict": [[9223372036854775808, 2]]}]', "at most 64 bits .*found 0x8000000000000000"),
        ('[{"$tensor": "t"}, {"$dict": [[[], 3]]}]', "expected pairs of a key"),
        ('[{"$tensor": "t"}, {"$dict": [3]}]', "expected pairs of a key"),
        ('[{"$tensor": "t"}, {"$code": "x"}]', r"the notation '\$code'"),
    ],
)
def test_a_lying_structure_is_refused(forge_tensors: Any, structure: str, reason: str):
    path = forge_tensors({"t": row()}, b"ab", structure=structure.encode())
    with Archive.open(path) as archive, pytest.raises(HostileArchiveError, match=reason):
        archive.tree("m")


def test_booleans_that_are_neither_true_nor_false_are_refused(forge_tensors: Any):
    with Archive.open(forge_tensors({"t": row("BOOL")}, b"\x01\x02")) as archive:
        with pytest.raises(HostileArchiveError, match="expected only 0 and 1 in a boolean tensor"):
            archive.tree("m")


def test_header_and_manifest_must_list_the_same_tensors(forge: Any, forgery: Any):
    text = json.dumps({"t": row()}).encode()
    entry = len(text).to_bytes(8, "little") + text + b"ab"
    tensors = {"m.safetensors": {"t": digest_of(b"ab"), "u": digest_of(b"")}}
    path = forge(forgery([("m.json", b'{"$tensor": "t"}'), ("m.safetensors", entry)], ["m"], tensors))
    with (
        Archive.open(path) as archive,
        pytest.raises(HostileArchiveError, match=r"disagree about the tensors \['u'\]"),
    ):
        archive.tree("m")


def test_a_structure_that_refers_to_nothing_is_found_by_verify(forge_tensors: Any):
    with Archive.open(forge_tensors({"t": row()}, b"ab", structure=b'{"x": 1}')) as archive:
        assert [str(damage) for damage in archive.verify()] == ["m.json: structure and tensors disagree about ['t']"]


@pytest.mark.parametrize(
    ("lie", "install"),
    [
        ({"manifest": {"written_by": "milepost 0.4.0"}}, "Install milepost >= 0.4.0, which wrote it."),
        ({"manifest": {"written_by": "milepost 1; rm"}}, "Install a version of milepost that reads format version 2."),
        ({"manifest_text": b"[]"}, "Install a version of milepost that reads format version 2."),
        ({"directory": lambda data: b"other"}, "Install a version of milepost that reads format version 2."),
    ],
)
def test_a_newer_version_says_what_to_install(forge: Any, forgery: Any, lie: dict[str, Any], install: str):
    path = forge(forgery([], comment_version=2, **lie))
    with pytest.raises(UnsupportedVersionError) as caught:
        Archive.open(path)
    assert str(caught.value) == (
        f"could not open '{path}': expected an archive of format version 1 at most, found 2. {install}"
    )


def test_version_0_is_no_version(forge: Any, forgery: Any):
    with pytest.raises(HostileArchiveError, match="expected a format version of 1 or more, found 0"):
        Archive.open(forge(forgery([], comment_version=0)))


def test_a_file_too_short_for_its_end_records_is_truncated(forge: Any, forgery: Any):
    path = forge(forgery([]))
    data = path.read_bytes()
    path.write_bytes(data[:94] + data[-93:])
    with pytest.raises(DamagedArchiveError, match="expected 191 bytes in the file, found 187: it is truncated"):
        Archive.open(path)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["x", "x.y", "x/y"], "'x' is a file and a folder of 'x/y'"),
        (["a/X", "A/x/y/z"], "'a/X' is a file and a folder of 'A/x/y/z'"),
        (["source/Model.py", "source/model.py"], "'source/Model.py' and 'source/model.py' differ only in case"),
        (["\u00c9", "e\u0301"], "differ only in case"),
        (["stra\u00dfe", "STRASSE"], "differ only in case"),
        (["MANIFEST.json"], "differ only in case"),
    ],
)
def test_names_that_cannot_be_unpacked_together_are_refused(forge: Any, forgery: Any, names: list[str], reason: str):
    with pytest.raises(HostileArchiveError, match=rf"the names of two entries are refused: .*{reason}"):
        Archive.open(forge(forgery([(name, b"") for name in names])))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.touch(), "it is empty"),
        (write_zip, "found a zip file of another program"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "found an empty zip file"),
        (lambda path: path.write_bytes(pickle.dumps([1])), "found a pickle"),
        (lambda path: path.write_text("hello"), "found another format"),
        (lambda path: path.mkdir(), "expected a regular file, found a folder"),
        (os.mkfifo, "expected a regular file, found a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "expected a regular file, found a device"),
    ],
    ids=["empty", "zip", "empty-zip", "pickle", "text", "folder", "fifo", "device"],
)
def test_other_files_are_told_apart(tmp_path: Path, make: Callable[[Path], object], found: str):
    path = tmp_path / "model.ckpt"
    make(path)
    with pytest.raises(NotAnArchiveError, match=rf"could not open '{path}': .*{found}\. Give the path"):
        Archive.open(path)
    assert kind_of(path) is None


@pytest.mark.parametrize(
    ("path", "found"),
    [("", "found an empty one"), ("a\0b", "without NUL characters"), ("\ud800", "found lone surrogates in it")],
)
def test_a_path_that_no_file_can_have_is_told(path: str, found: str):
    with pytest.raises(NotAnArchiveError, match=rf"expected a path.*{found}.*\. Give the path of a file"):
        Archive.open(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        Archive.open(tmp_path / "absent")


def test_the_error_classes_are_what_callers_catch():
    for kind in (NotAnArchiveError, HostileArchiveError, DamagedArchiveError, UnsupportedVersionError):
        assert issubclass(kind, ArchiveError)
        assert issubclass(kind, ValueError)
