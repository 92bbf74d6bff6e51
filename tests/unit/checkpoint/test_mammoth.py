"""A file of Mammoth's is read whatever its mode, and laid out so that Mammoth's own rules are met."""

from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.checkpoint.foreign import open_foreign
from milepost.checkpoint.mammoth import KeptExamples, MammothState, lay_out, optimizer_state, read_mammoth
from milepost.checkpoint.weight_files import PlainFile
from milepost.errors import ForeignFileError

FILES = Path(__file__).parents[2] / "compat" / "foreign"


def read(path: Path) -> MammothState:
    found = open_foreign(path)
    assert found is not None
    return read_mammoth(found)


def written(path: Path, **changes: Any) -> Path:
    """Write a file as Mammoth does, with some entries changed."""
    tree = {
        "model": {"net.w": torch.ones(2)},
        "optimizer": None,
        "scheduler": None,
        "args": {"model": "er"},
        "results": [[[50.0]], [[75.0]], {}],
        **changes,
    }
    torch.save(tree, path)
    return path


@pytest.mark.parametrize(("mode", "seen"), [("safe", None), ("old-pickle", 100)])
def test_both_modes_are_read(mode: str, seen: int | None) -> None:
    found = read(FILES / f"mammoth-er-{mode}.pt")
    assert (found.tasks_done, found.seen) == (5, seen)
    assert found.args["dataset"] == "seq-mnist"
    assert found.accuracy[2] == (25.0, 50.0, 0.0)
    assert found.task_accuracy[4] == (37.5, 75.0, 62.5, 37.5, 37.5)
    assert {name: tuple(value.shape) for name, value in found.buffer.items()} == {
        "examples": (2, 1, 28, 28),
        "labels": (2,),
    }
    assert found.weights["net.fc1.weight"].shape == (4, 784)


def test_places_that_nothing_was_put_into_are_left_out(tmp_path: Path) -> None:
    buffer = {"examples": torch.zeros(5, 1, 2, 2), "labels": torch.zeros(5, dtype=torch.int64), "num_seen_examples": 3}
    found = read(written(tmp_path / "a.pt", buffer=buffer))
    assert (len(found.buffer["examples"]), len(found.buffer["labels"]), found.seen) == (3, 3, 3)


def test_a_file_without_results_or_buffer(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a.pt", results=None))
    assert (found.tasks_done, found.accuracy, found.task_accuracy, dict(found.buffer)) == (0, (), (), {})


@pytest.mark.parametrize("results", [[], [[[1.0]]], ["x", "y", {}], [[["x"]], [[1.0]], {}], [[1.0], [1.0], {}], 3])
def test_results_of_another_form_are_refused(tmp_path: Path, results: object) -> None:
    path = written(tmp_path / "a.pt", results=results)
    with pytest.raises(ForeignFileError) as caught:
        read(path)
    assert str(caught.value) == (
        f"could not read '{path}' as a checkpoint of Mammoth's: results: expected two lists of rows of numbers, found "
        "something else. Convert its weights to a .pt file, and begin with those."
    )


def test_a_buffer_of_unlike_attributes_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt", buffer={"examples": torch.zeros(3, 1), "labels": torch.zeros(2)})
    with pytest.raises(
        ForeignFileError, match=r"expected as many of each attribute, found {'examples': 3, 'labels': 2}"
    ):
        read(path)


def test_what_is_laid_out_has_the_keys_of_mammoth_s_own_file() -> None:
    own = open_foreign(FILES / "mammoth-er-safe.pt")
    assert own is not None
    tree = own.tree()
    weights = {name.removeprefix("net."): value for name, value in tree["model"].items()}
    buffer = KeptExamples({"examples": tree["buffer"]["examples"], "labels": tree["buffer"]["labels"]}, 2)
    made = lay_out(weights, tree["args"], *tree["results"][:2], optimizer=tree["optimizer"], buffer=buffer)
    assert made.keys() == tree.keys()
    assert list(made["model"]) == list(tree["model"])
    assert made["results"][:2] == tree["results"][:2]
    assert made["results"][2].keys() == tree["results"][2].keys()
    assert made["results"][2]["accs"] == [float(value) for value in tree["results"][2]["accs"]]
    assert {name: (value.dtype, value.shape) for name, value in made["buffer"].items()} == {
        name: (value.dtype, value.shape) for name, value in tree["buffer"].items()
    }


def test_empty_places_repeat_the_examples_in_mammoth_s_types() -> None:
    examples = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    kept = KeptExamples({"labels": torch.tensor([3, 7], dtype=torch.uint8), "examples": examples}, 5)
    made = lay_out({"w": torch.ones(1)}, {}, [[50.0]], None, buffer=kept)["buffer"]
    assert made["examples"].tolist() == [[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]
    assert made["examples"].dtype == torch.float32
    assert (made["labels"].tolist(), made["labels"].dtype) == ([3, 7, 3, 7, 3], torch.int64)


def test_one_read_out_leaves_the_other_empty() -> None:
    made = lay_out({}, {}, [[50.0], [20.0, 40.0]], None)
    assert made["results"][1] == [[], []]
    assert made["results"][2]["accs"] == [50.0, 30.0]
    assert "accs_mask_classes" not in made["results"][2]
    assert "buffer" not in made


def test_the_limited_reader_opens_it(tmp_path: Path) -> None:
    weight = torch.arange(4.0)
    tree = lay_out(
        {"a": weight, "b": weight}, {"lr": 0.1}, [[1.0]], [[2.0]], optimizer={"state": {}, "param_groups": []}
    )
    file = PlainFile(tmp_path / "a.pt", tree)
    with file.where.open("wb") as stream:
        file.write(stream)
    file.check(file.where)
    loaded = torch.load(file.where, weights_only=True)
    assert torch.equal(loaded["model"]["net.a"], weight)
    found = read(file.where)
    assert (found.accuracy, found.task_accuracy, found.args) == (((1.0,),), ((2.0,),), {"lr": 0.1})


def test_an_optimizer_is_laid_out_as_torch_s_own() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    own = optimizer.state_dict()
    groups = [{name: value for name, value in group.items() if name != "params"} for group in own["param_groups"]]
    named = {"state": {"weight": own["state"][0], "bias": own["state"][1]}, "groups": groups}
    assert optimizer_state(named, ["weight", "bias"]) == own
