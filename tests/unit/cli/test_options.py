"""`milepost options` prints a schema that editors understand and files that are read back as they were."""

import json

import pytest

from milepost.model import find_architecture, registry
from milepost.options import load_options

TEXT = """
architecture: {name: cairn, model: {features: 16}}
training_set: frames.xyz
"""


@pytest.fixture
def options(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_schema_of_the_only_architecture_needs_no_name(milepost, monkeypatch) -> None:
    only = {"cairn": registry._points()["cairn"]}
    monkeypatch.setattr(registry, "_points", lambda: only)
    ended = milepost("options", "schema")
    assert ended.status == 0
    assert ended.out == milepost("options", "schema", "cairn").out
    schema = json.loads(ended.out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$defs"]["ArchitectureOptions"]["properties"]["name"]["const"] == "cairn"
    cutoff = schema["$defs"]["CairnModelOptions"]["properties"]["cutoff"]
    assert cutoff["description"].endswith("[Å]")


def test_schema_of_one_among_several_needs_its_name(milepost) -> None:
    ended = milepost("options", "schema")
    assert ended.status == 2
    assert "expected the name of an architecture, one of cairn" in ended.err


def test_schema_of_an_unknown_architecture(milepost) -> None:
    ended = milepost("options", "schema", "carin")
    assert ended.status == 1
    assert "no architecture 'carin' is installed" in ended.err
    assert "Did you mean 'cairn'?" in ended.err


def test_expand_writes_out_what_is_read_back(milepost, options) -> None:
    ended = milepost("options", "expand", options, "-r", "architecture.training.epochs=7")
    assert ended.status == 0
    model = find_architecture("cairn").options_class()
    again = load_options(None, model, text=ended.out)
    assert again == load_options(options, model, ["architecture.training.epochs=7"])
    assert "cutoff: 5.0  # [Å]" in ended.out
    assert "epochs: 7 " in ended.out


def test_expand_lists_mistakes(milepost, options) -> None:
    options.write_text("architecture: {name: cairn, modle: {}}\n", encoding="utf-8")
    ended = milepost("options", "expand", options)
    assert ended.status == 1
    assert "modle: unknown key; did you mean 'model'?" in ended.err
    assert "training_set: missing" in ended.err
    assert ended.out == ""
