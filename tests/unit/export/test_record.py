"""The record of an exported file: attached to its zip, read without running it, refused when damaged."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from milepost.errors import ArchiveError, ExportError, NotAnArchiveError, UnsupportedVersionError
from milepost.export import ExportRecord, attach_record, find_record, read_record

RECORD = ExportRecord(
    format="program",
    source="blake3:00",
    run_id="run",
    step=3,
    architecture={"name": "some", "version": 2},
    facts={"units": {"length": "Å"}},
    metadata={"name": "a model", "other": [1, 2]},
    environment={"device": "cpu"},
)


def program(path: Path, entries: dict[str, str] | None = None) -> Path:
    """Write a zip as torch does: one folder at the root."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (entries or {"model/code.py": "code"}).items():
            archive.writestr(name, text)
    return path


def test_a_record_comes_back(tmp_path: Path) -> None:
    path = program(tmp_path / "model.x")
    attach_record(path, RECORD)
    assert read_record(path) == RECORD
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["model/code.py", "model/extra/milepost.json"]
        assert archive.getinfo("model/extra/milepost.json").compress_type == zipfile.ZIP_STORED


def test_a_file_is_described_once(tmp_path: Path) -> None:
    path = program(tmp_path / "model.x")
    attach_record(path, RECORD)
    with pytest.raises(ExportError, match=r"expected no entry 'model/extra/milepost\.json', found one"):
        attach_record(path, RECORD)


def test_what_is_no_zip_cannot_be_described(tmp_path: Path) -> None:
    path = tmp_path / "model.x"
    path.write_text("text")
    with pytest.raises(ExportError, match="expected a zip archive or an ONNX file"):
        attach_record(path, RECORD)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 and nothing"])
def test_other_files_have_no_record(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.x"
    path.write_bytes(content)
    assert find_record(path) is None
    with pytest.raises(NotAnArchiveError, match="expected a model exported by milepost, found another file"):
        read_record(path)


def test_a_zip_without_a_record_is_another_file(tmp_path: Path) -> None:
    assert find_record(program(tmp_path / "model.x")) is None


def written(tmp_path: Path, text: str) -> Path:
    return program(tmp_path / "model.x", {"model/extra/milepost.json": text})


def test_a_newer_record_names_the_version(tmp_path: Path) -> None:
    path = written(tmp_path, replace(RECORD, version=9).to_json())
    with pytest.raises(UnsupportedVersionError, match=r"of version 1 or before, found 9\. Install a newer Milepost"):
        read_record(path)


def test_a_record_without_a_key_names_the_key(tmp_path: Path) -> None:
    values = json.loads(RECORD.to_json())
    del values["source"]
    with pytest.raises(ArchiveError, match=r"expected the keys \['source'\] in its record, found none"):
        read_record(written(tmp_path, json.dumps(values)))


def test_a_record_that_is_no_json_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="its record is no JSON"):
        read_record(written(tmp_path, "{"))


def test_two_records_are_refused(tmp_path: Path) -> None:
    path = program(tmp_path / "m.x", {"a/extra/milepost.json": "{}", "b/extra/milepost.json": "{}"})
    with pytest.raises(ArchiveError, match="expected one small record"):
        read_record(path)


def test_a_key_that_this_version_does_not_know_is_ignored(tmp_path: Path) -> None:
    values = json.loads(RECORD.to_json()) | {"later": 1}
    assert read_record(written(tmp_path, json.dumps(values))) == RECORD
