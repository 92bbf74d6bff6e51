"""What authors say about a model: read from YAML, each mistake named, and written into a copy of a checkpoint."""

from pathlib import Path

import pytest

import tiny
from milepost.checkpoint import load_checkpoint
from milepost.errors import ExportError, OverwriteError
from milepost.export.metadata import read_metadata, write_described


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "metadata.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_single_text_is_a_list_of_one_and_a_date_is_text(tmp_path: Path) -> None:
    path = written(tmp_path, "authors: A. Author\nreferences: {model: doi}\nmade: 2026-03-01\n")
    metadata, notes = read_metadata(path)
    assert metadata == {"authors": ["A. Author"], "references": {"model": ["doi"]}, "made": "2026-03-01"}
    assert notes == []


def test_a_key_that_looks_mistyped_is_kept_and_noted(tmp_path: Path) -> None:
    metadata, notes = read_metadata(written(tmp_path, "descripton: text\nreferences: {modle: doi}\n"))
    assert metadata == {"descripton": "text", "references": {"modle": ["doi"]}}
    assert notes == [
        "metadata: 'descripton' is kept as it is; did you mean 'description'?",
        "metadata: 'modle' is kept as it is; did you mean 'model'?",
    ]


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        read_metadata(written(tmp_path, "name: 1\nauthors: {a: b}\nreferences: {model: 2}\nother: .nan\n"))
    text = str(caught.value)
    assert "other: expected text, a number, a date, a list or keys with values, found nan" in text
    assert "name: expected text, found 1" in text
    assert "authors: expected a list of names, found {'a': 'b'}" in text
    assert "references.model: expected a list of texts, found 2" in text


@pytest.mark.parametrize("text", ["- a\n- b\n", "text\n", "{", "day: 2026-02-30\n"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ExportError, match="could not read metadata from"):
        read_metadata(written(tmp_path, text))


def test_a_circle_of_aliases_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"a\.b: expected a value, found an alias inside the value that it repeats"):
        read_metadata(written(tmp_path, "a: &a {b: *a}\n"))


def test_a_described_checkpoint_is_the_same_but_for_its_metadata(tmp_path: Path) -> None:
    path = tmp_path / "described.ckpt"
    digest = write_described(tiny.checkpoint(), path, {"name": "other"})
    with load_checkpoint(path) as described, load_checkpoint(tiny.checkpoint()) as before:
        assert described.digest == digest != before.digest
        assert described.record.metadata == {**before.record.metadata, "metadata": {"name": "other"}}
        assert described.components == before.components
        assert described.options_yaml == before.options_yaml
        assert described.record.run_id == before.record.run_id
    with pytest.raises(OverwriteError):
        write_described(tiny.checkpoint(), path, {})
