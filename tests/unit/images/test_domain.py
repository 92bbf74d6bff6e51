"""The domain prepares runs on images, rebuilds their models without data, and takes over weights that fit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from image_files import write_mnist
from milepost.images.domain import DOMAIN, take_weights
from milepost.images.mlp import ARCHITECTURE
from milepost.images.mlp.model import MLP
from milepost.images.preprocessing import Preprocessing
from milepost.learning import Classification
from milepost.options import load_options
from milepost.run import Ancestor, Prepared


def options(*overrides: str) -> Any:
    return load_options(None, ARCHITECTURE.options_class(), ["architecture.name=mlp", *overrides])


def prepared(*overrides: str, folder: Path = Path(), facts: Any = None, ancestor: Ancestor | None = None) -> Prepared:
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    return DOMAIN.prepare(options(*overrides), ARCHITECTURE, folder=folder, device=cpu, ancestor=ancestor, facts=facts)


def test_a_run_on_digits_is_prepared() -> None:
    found = prepared("architecture.model.hidden=[20]")
    assert isinstance(found.model, MLP)
    assert isinstance(found.objective, Classification)
    assert set(found.sets) == {"training", "validation", "test"}
    assert [task.classes for task in found.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert found.matrix == {"accuracy": "max", "task_accuracy": "max"}
    assert found.facts["shape"] == [1, 8, 8]
    assert found.facts["class_names"] == list("0123456789")
    assert Preprocessing.from_facts(found.facts["preprocessing"]) == Preprocessing(16)
    assert found.summary == (
        "data: 1,442 training, 355 test images of 1 × 8 × 8 · 5 tasks · 10 classes · 1,510 parameters",
    )
    batch = found.sets["training"].batch(found.tasks[2].training[:7])
    total, parts = found.objective.task_loss(found.model, batch)
    assert total.shape == ()
    assert parts == {}


@pytest.mark.parametrize("benchmark", ["seq-digits", "perm-digits"])
def test_every_metric_has_its_name(benchmark: str) -> None:
    overrides = f"tasks.benchmark={benchmark}", "tasks.validation=0.2"
    found, names = prepared(*overrides), DOMAIN.metric_names(options(*overrides))
    part = found.tasks[0].held_out["validation"]
    measured = found.evaluate(found.model, part)
    assert len(set(names)) == len(names)
    assert set(names) == {
        "training/loss",
        *(f"validation/{name}" for name in measured),
        *(f"tasks/{name}" for name in found.matrix),
    }
    assert list(DOMAIN.objections(options())) == []


def test_a_task_is_measured_by_two_read_outs_where_it_has_some_classes() -> None:
    found = prepared()
    measured = found.evaluate(found.model, found.tasks[0].held_out["test"])
    assert set(measured) == {"loss", "accuracy", "task_accuracy"}
    assert measured["task_accuracy"] >= measured["accuracy"]
    found = prepared("tasks=perm-digits")
    assert found.matrix == {"accuracy": "max"}
    assert set(found.evaluate(found.model, found.tasks[0].held_out["test"])) == {"loss", "accuracy"}


def test_a_model_is_rebuilt_from_options_and_facts_alone(tmp_path: Path) -> None:
    write_mnist(tmp_path / "data" / "mnist")
    found = prepared("tasks=seq-mnist", folder=tmp_path)
    again = DOMAIN.rebuild(options("tasks=seq-mnist"), ARCHITECTURE, found.facts)
    again.load_state_dict(found.model.state_dict())
    inputs = found.sets["test"].batch(torch.arange(3))["inputs"]
    assert inputs.shape == (3, 1, 4, 5)
    assert torch.equal(again(inputs), found.model(inputs))


def test_facts_of_a_run_that_goes_on_are_taken_as_they_are() -> None:
    facts = prepared().facts
    assert prepared(facts=facts).facts is facts


def test_weights_and_inputs_are_of_the_precision_that_is_asked_for() -> None:
    found = prepared("base_precision=64")
    assert {p.dtype for p in found.model.parameters()} == {torch.float64}
    assert found.sets["training"].batch(torch.arange(2))["inputs"].dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_the_split_names_every_file_and_task() -> None:
    record = prepared().split
    assert list(record["files"]) == ["training", "test"]
    assert [task["name"] for task in record["tasks"]] == ["0-1", "2-3", "4-5", "6-7", "8-9"]
    assert record["tasks"][0]["training"].partition(",")[0] == "289 images"


def test_fine_tuning_takes_what_fits_and_names_the_rest() -> None:
    old = MLP(64, (100, 100), 3)
    ancestor = Ancestor(old.state_dict(), {}, "blake3:0", "old.ckpt")
    found = prepared(ancestor=ancestor)
    assert torch.equal(found.model.get_parameter("fc1.weight"), old.get_parameter("fc1.weight"))
    assert torch.equal(found.model.get_parameter("fc2.bias"), old.get_parameter("fc2.bias"))
    assert found.model.get_parameter("classifier.weight").shape == (10, 100)
    assert found.summary[1:] == (
        "taken from 'old.ckpt': 4 of 6 tensors",
        "begin at random: classifier.weight (10, 100), classifier.bias (10,)",
        "not taken: classifier.weight (3, 100), classifier.bias (3,)",
    )


def test_an_ancestor_that_fits_is_taken_whole() -> None:
    old, new = MLP(64, (5,), 10), MLP(64, (5,), 10)
    assert take_weights(new, Ancestor(old.state_dict(), {}, "", "x")) == ["taken from 'x': 4 of 4 tensors"]
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))


@pytest.mark.parametrize("benchmark", ["seq-digits", "rot-digits"])
def test_preparing_twice_gives_the_same(benchmark: str) -> None:
    one, other = (prepared(f"tasks={benchmark}") for _ in range(2))
    assert one.split == other.split
    assert one.facts == other.facts
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
