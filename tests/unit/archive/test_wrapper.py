"""The file is an ordinary zip, aligned, deterministic and lazy; importing the archive is light."""

import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from blake3 import blake3

import milepost.archive
from milepost.archive import Archive, digest_of, kind_of, layout, write_archive
from milepost.archive.source import Source
from milepost.errors import ArchiveError, UnsavableError


def test_zip_programs_read_it(small: Path):
    with zipfile.ZipFile(small) as unzipped:
        assert unzipped.testzip() is None
        assert unzipped.namelist() == [
            "mimetype", "model.json", "model.safetensors", "options.yaml", "manifest.json",
        ]  # fmt: skip
        infos = unzipped.infolist()
        digest = digest_of(unzipped.read("manifest.json"))
        assert unzipped.comment == f"milepost-archive 0001 blake3 {digest}".encode()
    assert {(i.compress_type, i.date_time, i.external_attr >> 16) for i in infos} == {
        (0, (1980, 1, 1, 0, 0, 0), 0o100644)
    }
    with Archive.open(small) as archive:
        assert archive.digest == archive.manifest.digest == f"blake3:{digest}"


def test_every_entry_and_the_tensor_data_are_aligned(small: Path):
    with Archive.open(small) as archive:
        records = archive._records.values()
        assert [record.data_offset % 64 for record in records] == [0] * 5
        assert archive._tensors("model")[1] % 64 == 0


def test_the_same_content_gives_the_same_bytes(tmp_path: Path):
    for name in "ab":
        write_archive(tmp_path / name, kind="t", components={"x": {"t": torch.ones(3)}, "w": 1}, files={"f": b"1"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_manifest_keeps_the_writers_keys(tmp_path: Path):
    extra = {"run_id": "é", "metrics": {"loss": float("inf")}, "parents": [], "pair": (1, 2)}
    written = write_archive(
        tmp_path / "x", kind="k", components={"b": 1, "a": 2}, files={"s/m.py": b""}, manifest=extra
    )
    with Archive.open(tmp_path / "x") as archive:
        assert archive.manifest == written
        assert dict(archive.manifest.extra) == extra
        assert (archive.manifest.kind, archive.manifest.components) == ("k", ("a", "b"))
        assert archive.manifest.files == ("s/m.py",)
        assert archive.file("s/m.py") == b""
        assert archive.names()[-1] == "manifest.json"
    assert kind_of(tmp_path / "x") == "k"


def test_safetensors_entry_can_be_read_as_a_file(small: Path):
    with Archive.open(small) as archive, zipfile.ZipFile(small) as unzipped:
        assert archive.file("model.safetensors") == unzipped.read("model.safetensors")


def test_a_name_that_is_not_there_is_answered_with_those_that_are(small: Path):
    with Archive.open(small) as archive:
        with pytest.raises(ArchiveError, match=r"could not read 'x' of .* it contains mimetype, model.json"):
            archive.file("x")
        with pytest.raises(ArchiveError, match=r"could not load component 'ema' of .* its components are model"):
            archive.tree("ema")
        with pytest.raises(ArchiveError, match="its components are model"):
            archive.tensor_table("ema")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"components": {"a/b": 1}}, r"component 'a/b': expected 1 to 100 letters"),
        ({"components": {"manifest": 1}}, r"component 'manifest': 'manifest.json' is reserved"),
        ({"files": {"../x": b""}}, r"file '../x': it leaves or restates its folder"),
        ({"files": {"mimetype": b""}}, r"file 'mimetype': it belongs to the format"),
        ({"components": {"a": 1}, "files": {"a.json": b""}}, r"files \['a.json'\]: components have entries"),
        ({"manifest": {"entries": 1}}, r"the keys \['entries'\] belong to the format"),
        ({"manifest": {"x": torch.ones(1)}}, r"'x' is a tensor. Use item\(\)"),
        ({"manifest": {"x": {1, 2}}}, r"could not save 'manifest.x': expected a tensor"),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_file_exists(tmp_path: Path, arguments: Any, reason: str):
    with pytest.raises(UnsavableError, match=reason):
        write_archive(tmp_path / "x", **{"kind": "k", "components": {}, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_document_that_readers_would_refuse_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(milepost.archive.jsontext, "MAX_DOCUMENT_BYTES", 2000)
    with pytest.raises(UnsavableError, match=r"could not save 'c.json': expected at most 2000 bytes of JSON"):
        write_archive(tmp_path / "x", kind="k", components={"c": list(range(2000))})


def test_opening_reads_little_of_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_archive(tmp_path / "x", kind="k", components={"c": {"t": torch.zeros(2**20)}}, durability="process")
    counted: list[int] = []
    read = Source.read_into
    monkeypatch.setattr(Source, "read_into", lambda self, o, b: (counted.append(len(b)), read(self, o, b))[1])
    with Archive.open(tmp_path / "x") as archive:
        rows = archive.tensor_table("c")
    assert rows[0].bytes == 4 * 2**20
    assert sum(counted) < 4000


def test_sizes_beyond_four_gib_have_a_place_in_the_wrapper():
    record = layout.Record("big", 5 * 2**32, 1, 6 * 2**32)
    (parsed, end) = layout._parse_record(layout.central_directory([record]), 0)
    assert parsed == record
    assert end == 46 + 3 + 28
    assert record.end == record.data_offset + 5 * 2**32


def test_large_tensors_are_read_and_hashed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(milepost.archive.digest, "CHUNK", 1000)
    monkeypatch.setattr(milepost.archive.source, "CHUNK", 777)
    monkeypatch.setattr(milepost.archive.digest, "_THREADS_PAY_FROM", 3000)
    tensor = torch.arange(5001, dtype=torch.int16)
    write_archive(tmp_path / "x", kind="k", components={"c": tensor})
    with Archive.open(tmp_path / "x") as archive:
        assert archive.verify() == []
        assert torch.equal(archive.tree("c"), tensor)
    with zipfile.ZipFile(tmp_path / "x") as unzipped:
        assert unzipped.testzip() is None


def test_importing_the_archive_and_reading_a_manifest_needs_no_torch(small: Path):
    code = (
        "import sys; from milepost.archive import Archive\n"
        "with Archive.open(sys.argv[1]) as archive:\n"
        "    archive.tensor_table('model'), archive.file('options.yaml'), archive.verify()\n"
        "print(sorted({'torch', 'numpy', 'pickle', 'safetensors'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code, str(small)], capture_output=True, text=True, env=env)
    assert result.stdout.strip() == "[]", result.stderr


def test_a_reader_made_from_the_format_page_alone(small: Path):
    content = small.read_bytes()
    with zipfile.ZipFile(small) as unzipped:
        text = unzipped.read("manifest.json")
        assert content[-64:].decode() == unzipped.comment[-64:].decode() == blake3(text).hexdigest()
        manifest = json.loads(text)
        assert [*manifest["entries"], "manifest.json"] == unzipped.namelist()
        for name, entry in manifest["entries"].items():
            data = unzipped.read(name)
            assert (len(data), f"{zlib.crc32(data):08x}") == (entry["size"], entry["crc32"])
            begin = 8 + int.from_bytes(data[:8], "little") if "tensors" in entry else len(data)
            assert blake3(data[:begin]).hexdigest() == entry["digest"]
            if "tensors" in entry:
                header = json.loads(data[8:begin])
                assert set(header) == set(entry["tensors"])
                for tensor, digest in entry["tensors"].items():
                    first, last = header[tensor]["data_offsets"]
                    assert blake3(data[begin + first : begin + last]).hexdigest() == digest
        assert json.loads(unzipped.read("model.json")) == {
            "weight": {"$tensor": "weight"}, "bias": {"$tensor": "bias"}, "step": 7,
        }  # fmt: skip


def test_the_wrapper_is_the_one_that_the_format_page_gives(tmp_path: Path):
    write_archive(tmp_path / "x", kind="k", components={}, files={"f": b"12"})
    content = tmp_path.joinpath("x").read_bytes()
    assert content[:64] == bytes.fromhex(
        "504b0304 2d00 0008 0000 0000 2100" + zlib.crc32(content[64:94]).to_bytes(4, "little").hex()
        + "ffffffff ffffffff 0800 1a00" + b"mimetype".hex()
        + "0100 1000 1e00000000000000 1e00000000000000 35d9 0200 4000"
    )  # fmt: skip
    assert content[64:94] == b"application/x-milepost-archive"
    assert content[94:192] == bytes.fromhex(
        "504b0304 2d00 0008 0000 0000 2100" + zlib.crc32(b"12").to_bytes(4, "little").hex()
        + "ffffffff ffffffff 0100 4300" + b"f".hex()
        + "0100 1000 0200000000000000 0200000000000000 35d9 2b00 4000" + "00" * 41
    )  # fmt: skip
    assert content[192:194] == b"12"
    directory = content.index(b"PK\x01\x02")
    assert content[directory : directory + 82] == bytes.fromhex(
        "504b0102 2d03 2d00 0008 0000 0000 2100" + zlib.crc32(content[64:94]).to_bytes(4, "little").hex()
        + "ffffffff ffffffff 0800 1c00 0000 0000 0000 0000a481 ffffffff" + b"mimetype".hex()
        + "0100 1800 1e00000000000000 1e00000000000000 0000000000000000"
    )  # fmt: skip
    size, offset = (len(content) - 191 - directory).to_bytes(8, "little"), directory.to_bytes(8, "little")
    assert content[-191:-93] == bytes.fromhex(
        "504b0606 2c00000000000000 2d03 2d00 00000000 00000000 0300000000000000 0300000000000000"
        + size.hex() + offset.hex()
        + "504b0607 00000000" + (len(content) - 191).to_bytes(8, "little").hex() + "01000000"
        + "504b0506 0000 0000 ffff ffff ffffffff ffffffff 5d00"
    )  # fmt: skip


def test_public_names():
    assert sorted(milepost.archive.__all__) == milepost.archive.__all__
    assert all(hasattr(milepost.archive, name) for name in milepost.archive.__all__)


def test_manifest_is_readable_text(small: Path):
    with zipfile.ZipFile(small) as unzipped:
        manifest = json.loads(unzipped.read("manifest.json"))
    assert manifest["run_id"] == "r"
    assert set(manifest["entries"]["model.safetensors"]["tensors"]) == {"weight", "bias"}
