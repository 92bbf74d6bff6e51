"""The page on benchmarks names all that there are, with their tasks and files, and the networks with their keys."""

import re

import pytest

from docs.pages import ROOT
from milepost.images.benchmarks import BENCHMARKS, Benchmark
from milepost.images.finding import LAYOUTS, VARIABLE
from milepost.images.options import BenchmarkOptions, ClassifierTrainingOptions
from milepost.model import find_architecture

TEXT = (ROOT / "docs" / "reference" / "benchmarks.md").read_text("utf-8")
ROWS = {
    cells[0]: cells[1:]
    for cells in re.findall(r"^\| `([\w-]+)`(?: \(default\))? \| (.+?) \| (\d+) \| (.+) \|$", TEXT, re.M)
}
DIVISIONS = {"permuted": "all classes, places permuted", "rotated": "all classes, rotated", "whole": "all classes"}


def test_every_benchmark_is_there() -> None:
    assert list(ROWS) == list(BENCHMARKS)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_a_benchmark_is_described(benchmark: Benchmark) -> None:
    each = f"{benchmark.source.classes // benchmark.tasks} classes"
    title = benchmark.source.title.removeprefix("scikit-learn's ")
    wanted = (title, str(benchmark.tasks), DIVISIONS.get(benchmark.division, each))
    assert ROWS[benchmark.name] == wanted


def test_every_key_is_there() -> None:
    keys = re.findall(r"^\| `(\w+)` \| .+ \| .+ \|$", TEXT, re.MULTILINE)
    assert set(BenchmarkOptions.model_fields) <= set(keys)
    assert f"`{BenchmarkOptions().benchmark}` (default)" in TEXT


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_file_and_folder_is_there(name: str) -> None:
    layout = LAYOUTS[name]
    assert [word for word in (*layout.files, *layout.folders, *layout.system) if f"`{word}`" not in TEXT] == []
    assert f"`{VARIABLE}`" in TEXT


@pytest.mark.parametrize("name", ["mlp", "resnet18", "timm"])
def test_every_network_is_described(name: str) -> None:
    (row,) = (line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |"))
    options = find_architecture(name).model_options
    assert set(re.findall(r"`(\w+)`", row)) == {name, *options.model_fields}


def test_the_defaults_of_training_are_described() -> None:
    training = ClassifierTrainingOptions()
    assert (training.epochs, training.optimizer.name, training.schedule.name) == (1, "SGD", "constant")
    assert f"constant rate {training.optimizer.learning_rate}," in TEXT
