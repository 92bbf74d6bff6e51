"""YAML on the pages is read by the program that it is for, and Python on them runs."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import tiny
from docs.pages import PART, ROOT, Block, all_blocks
from milepost.atoms.evaluation import EvaluationOptions
from milepost.atoms.exporting_metadata import read_metadata
from milepost.cli.validation import read_options
from milepost.options import load_options

YAML = all_blocks("yaml")
PYTHON = all_blocks("python")
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


def read(text: str, folder: Path) -> str:
    """Read YAML as what it is and say what that was. Raises an error of the reader that refuses it."""
    content: Any = yaml.safe_load(text)
    path = folder / "file.yaml"
    if text.startswith(PART):
        whole = {"architecture": {"name": "cairn"}, "training_set": "frames.xyz"}
        whole |= {**content, "architecture": {**whole["architecture"], **content.get("architecture", {})}}
        path.write_text(yaml.safe_dump(whole), encoding="utf-8")
        read_options(path)
        return "options"
    path.write_text(text, encoding="utf-8")
    if "architecture" in content:
        read_options(path)
        return "options"
    if "systems" in content:
        load_options(path, EvaluationOptions)
        return "evaluation"
    _, notes = read_metadata(path)
    assert notes == []
    return "metadata"


def test_there_is_yaml_of_every_kind(tmp_path) -> None:
    assert {read(block.text, tmp_path) for block in YAML} == {"options", "evaluation", "metadata"}


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.where)
def test_yaml_is_taken(block: Block, tmp_path) -> None:
    read(block.text, tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_taken(path: Path, tmp_path) -> None:
    assert read(path.read_text(encoding="utf-8"), tmp_path) in ("options", "evaluation", "metadata")


def test_the_example_finds_its_data_from_the_root(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    read_options(Path("examples/ethanol/options.yaml"), for_training=True)


def test_the_tutorial_finds_its_data_from_the_root(monkeypatch, tmp_path) -> None:
    block = next(block for block in YAML if "first-potential" in block.where)
    path = tmp_path / "first.yaml"
    path.write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(ROOT)
    read_options(path, for_training=True)


def test_there_is_python() -> None:
    assert len(PYTHON) >= 4


# metatomic-ase divides by the volume that a molecule does not have.
@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered:RuntimeWarning")
# Lightning has a deprecated class of torch, and advice for machines with more cores or a GPU.
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.. is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*(does not have many workers|GPU available but not used)")
@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.where)
def test_python_runs(block: Block, tmp_path, monkeypatch, capsys) -> None:
    """Run a snippet beside the files that it names: small ones, whose kind is told by their content."""
    for name in ("model.pt", "model.pt2", "first.pt"):
        shutil.copy(tiny.scripted(), tmp_path / name)
    data = tmp_path / "examples" / "ethanol"
    data.mkdir(parents=True)
    frames = (ROOT / "examples" / "ethanol" / "ethanol.xyz").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "ethanol.xyz").write_text("".join(frames[: 11 * 1002]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["snippet"])
    exec(compile(block.text, block.where, "exec"), {"__name__": "snippet"})
    assert ("print" in block.text) == bool(capsys.readouterr().out)
