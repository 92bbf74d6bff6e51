"""YAML on the pages is read by the program that it is for, and Python on them runs."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import tiny
import tiny_classifiers
from docs.pages import PART, ROOT, Block, all_blocks
from milepost.atoms.evaluation import EvaluationOptions
from milepost.checkpoint import list_checkpoints, load_checkpoint
from milepost.cli.validation import read_options
from milepost.export import read_record
from milepost.export.metadata import read_metadata
from milepost.images.evaluation import EvaluationOptions as ClassifierEvaluationOptions
from milepost.options import load_options
from milepost.run.compiling import compiler_present

YAML = all_blocks("yaml")
PACKAGE = "write-a-learner"
"""A page whose Python is the files of a package: they run in a test of their own."""
PYTHON = [block for block in all_blocks("python") if PACKAGE not in block.where]
WITH_COMPILED = [block for block in PYTHON if "model.pt2" in block.text]
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
    for options in (EvaluationOptions, ClassifierEvaluationOptions):
        if content.keys() & options.model_fields:
            load_options(path, options)
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
    assert len(WITH_COMPILED) >= 2


# metatomic-ase divides by the volume that a molecule does not have.
quiet = pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered:RuntimeWarning")
# Lightning has a deprecated class of torch, and advice for machines with more cores or a GPU.
quiet_lightning = pytest.mark.filterwarnings(
    "ignore:.*isinstance.treespec, LeafSpec.. is deprecated:FutureWarning",
    "ignore:.*(does not have many workers|GPU available but not used)",
)


def run(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a snippet in the folder that holds the files that it names."""
    data = folder / "examples" / "ethanol"
    data.mkdir(parents=True)
    frames = (ROOT / "examples" / "ethanol" / "ethanol.xyz").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "ethanol.xyz").write_text("".join(frames[: 11 * 1002]), encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["snippet"])
    exec(compile(block.text, block.where, "exec"), {"__name__": "snippet"})
    assert ("print" in block.text) == bool(capsys.readouterr().out)


@quiet
@quiet_lightning
@pytest.mark.parametrize("block", [b for b in PYTHON if b not in WITH_COMPILED], ids=lambda block: block.where)
def test_python_runs(block: Block, tmp_path, monkeypatch, capsys) -> None:
    """Run a snippet beside small files of the names that it opens."""
    for name in ("model.pt", "first.pt"):
        shutil.copy(tiny.scripted(), tmp_path / name)
    shutil.copy(tiny_classifiers.onnx(), tmp_path / "digits.onnx")
    run(block, tmp_path, monkeypatch, capsys)


LOOPS = [block for block in PYTHON if "any-loop" in block.where]
(RESUMED,) = (block for block in LOOPS if "going on from step" in block.text)


@pytest.mark.parametrize("block", LOOPS, ids=lambda block: block.where)
def test_loops_run_again_in_the_same_folder(block: Block, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    said = []
    for _ in range(2):
        exec(compile(block.text, block.where, "exec"), {"__name__": "snippet"})
        said.append(capsys.readouterr().out)
    assert said[0]
    assert said[1] == said[0].replace("from step 0", "from step 30")


def test_the_loop_on_the_page_ends_with_the_same_bits_wherever_it_was_stopped(tmp_path, monkeypatch, capsys) -> None:
    weights = []
    for name, stops in (("alone", [31]), ("stopped", [15, 29, 31])):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        torch.manual_seed(1)
        Path("line-0").mkdir()
        for stop in stops:
            Path("line-0/.step-00000020.ckpt.01234567.draft").touch()
            text = RESUMED.text.replace("range(done + 1, 31)", f"range(done + 1, {stop})")
            exec(compile(text, RESUMED.where, "exec"), {"__name__": "snippet"})
        assert [entry.step for entry in list_checkpoints("line-0", verify=True)] == [10, 20, 30]
        assert all(entry.record is not None and entry.record.environment for entry in list_checkpoints("line-0"))
        assert not list(Path("line-0").glob(".*"))
        with load_checkpoint("line-0/step-00000030.ckpt") as checkpoint:
            weights.append(checkpoint.state("model"))
    assert capsys.readouterr().out.split() == ["going", "on", "from", "step", "0"] * 2 + (
        ["going", "on", "from", "step", "10", "going", "on", "from", "step", "20"]
    )
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.fixture(scope="module")
def compiled() -> Path:
    """Make a real `.pt2`, the one that the other tests use."""
    return tiny.compiled()


@pytest.mark.slow
@pytest.mark.skipif(not compiler_present(), reason="needs a C++ compiler")
@pytest.mark.parametrize("block", WITH_COMPILED, ids=lambda block: block.where)
def test_python_with_a_compiled_model_runs(block: Block, compiled: Path, tmp_path, monkeypatch, capsys) -> None:
    assert read_record(compiled).format == "aotinductor"
    shutil.copy(compiled, tmp_path / "model.pt2")
    run(block, tmp_path, monkeypatch, capsys)
    assert [path.name for path in tmp_path.glob("model.*")] == ["model.pt2"]
