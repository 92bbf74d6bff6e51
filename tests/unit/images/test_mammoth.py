"""A classifier's checkpoint is laid out so that Mammoth's own reading rules take it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from milepost.checkpoint import CheckpointRecord, load_checkpoint, save_checkpoint
from milepost.checkpoint.foreign import open_foreign
from milepost.images.mammoth import laid_out
from milepost.images.mlp import ARCHITECTURE
from milepost.images.preprocessing import Preprocessing
from milepost.learning import TaskMatrix, find_learner
from milepost.learning.buffers import Buffer, make_buffer
from milepost.options import expanded_yaml, load_options, with_learner

MAMMOTH = Path(__file__).parents[2] / "compat" / "foreign" / "mammoth-er-safe.pt"


def saved(
    path: Path,
    learner: str = "{name: derpp, buffer_size: 3}",
    *,
    hidden: str = "[4, 4]",
    filled: int = 2,
    largest: int = 255,
    tasks: str = "{benchmark: seq-mnist}",
    **remembered: Any,
) -> Path:
    """Save a checkpoint of a run that has learned two of five tasks; `remembered` stands in for the learner's state."""
    text = f"architecture: {{name: mlp, model: {{hidden: {hidden}}}}}\ntasks: {tasks}\nlearner: {learner}\n"
    spec = find_learner(yaml.safe_load(learner)["name"])
    options = load_options(None, with_learner(ARCHITECTURE.options_class(), spec.options), text=text)
    model = ARCHITECTURE.build.load()(options.architecture.model, shape=(1, 28, 28), classes=10)
    matrix = TaskMatrix(list("abcde"), {"accuracy": "max", "task_accuracy": "max"})
    matrix.add(0, [{"accuracy": 90.0, "task_accuracy": 91.0}, {"accuracy": 0.0, "task_accuracy": 50.0}])
    matrix.add(1, [{"accuracy": 30.0, "task_accuracy": 85.0}, {"accuracy": 95.0, "task_accuracy": 96.0}])
    state: dict[str, Any] = {
        "model": model,
        "optimizer": {"state": {}, "groups": [{"lr": 0.03, "momentum": 0}]},
        "facts": {"shape": [1, 28, 28], "classes": 10, "preprocessing": Preprocessing(largest).facts()},
        "matrix": matrix.state_dict(),
        "learner": remembered or {"buffer": kept(filled).state_dict(), "drawn": 4},
        "random": {"x": 1},
    }
    record = CheckpointRecord("run", versions={"mlp": 1})
    save_checkpoint(path, state, options_yaml=expanded_yaml(options), record=record, durability="process")
    return path


def kept(filled: int, kind: str = "reservoir", tasks: Tensor | None = None) -> Buffer:
    """Keep images of one brightness with their logits, in a buffer of three places."""
    buffer = make_buffer(kind, 3, 0)
    pixels = torch.full((filled, 1, 28, 28), 12, dtype=torch.uint8)
    fields = {"images": pixels, "labels": torch.arange(filled), "recalled.logits": torch.ones(filled, 10)}
    if filled:
        buffer.add(fields, tasks)
    return buffer


def laid(path: Path) -> tuple[dict[str, Any], list[str]]:
    with load_checkpoint(path) as checkpoint:
        return laid_out(checkpoint)


def test_names_and_shapes_are_those_of_mammoth_s_backbone(tmp_path: Path) -> None:
    own = open_foreign(MAMMOTH)
    assert own is not None
    expected = own.tree()["model"]
    tree, _ = laid(saved(tmp_path / "a.ckpt"))
    assert {name: value.shape for name, value in tree["model"].items()} == {
        name: value.shape for name, value in expected.items()
    }
    assert torch.equal(tree["model"]["net._features.2.weight"], tree["model"]["net.fc2.weight"])
    assert torch.equal(tree["model"]["net.net.1.bias"], tree["model"]["net.classifier.bias"])


def test_everything_mammoth_has_a_place_for_comes_along(tmp_path: Path) -> None:
    tree, notes = laid(saved(tmp_path / "a.ckpt"))
    assert tree["results"][:2] == [[[90.0], [30.0, 95.0]], [[91.0], [85.0, 96.0]]]
    assert tree["results"][2]["accs"] == [90.0, 62.5]
    assert tree["optimizer"] == {
        "state": {},
        "param_groups": [{"lr": 0.03, "momentum": 0, "params": [0, 1, 2, 3, 4, 5]}],
    }
    assert tree["scheduler"] is None
    buffer = tree["buffer"]
    assert {name: tuple(value.shape) for name, value in buffer.items()} == {
        "examples": (3, 1, 28, 28),
        "labels": (3,),
        "logits": (3, 10),
    }
    assert buffer["labels"].tolist() == [0, 1, 0]
    known = ("dataset", "model", "backbone", "mlp_hidden_size", "num_classes", "buffer_size", "joint")
    assert [tree["args"][key] for key in known] == ["seq-mnist", "derpp", "mnistmlp", 4, 10, 3, 0]
    assert notes == [
        "model: 16 names, results of 2 tasks",
        "Mammoth goes on behind them with --start_from 2; without it, it begins with the first task",
        "buffer: 2 examples in 3 places; the other places repeat them, since Mammoth takes each for an example",
        "left out: that the buffer has seen 2 examples; Mammoth will take it for 3",
        "Mammoth's 'derpp' can go on with the buffer",
        "left out, Mammoth has no place for it: random",
    ]


@pytest.mark.parametrize("largest", [16, 255])
def test_what_is_replayed_is_what_the_weights_were_trained_on(tmp_path: Path, largest: int) -> None:
    tree, _ = laid(saved(tmp_path / "a.ckpt", largest=largest))
    images = torch.full((1, 1, 28, 28), 12, dtype=torch.uint8)
    assert torch.equal(tree["buffer"]["examples"][:1], Preprocessing(largest)(images))


@pytest.mark.parametrize(
    ("learner", "attributes"),
    [
        ("der", ["examples", "logits"]),
        ("derpp", ["examples", "labels", "logits"]),
    ],
)
def test_attributes_are_as_many_as_mammoth_s_method_takes(tmp_path: Path, learner: str, attributes: list[str]) -> None:
    tree, _ = laid(saved(tmp_path / "a.ckpt", f"{{name: {learner}, buffer_size: 3}}"))
    assert list(tree["buffer"]) == attributes


def test_gem_s_examples_are_told_apart_by_their_tasks(tmp_path: Path) -> None:
    memory = kept(3, "ring", torch.tensor([1, 0, 1]))
    tree, notes = laid(saved(tmp_path / "a.ckpt", "{name: gem, buffer_size: 3}", buffer=memory.state_dict()))
    assert tree["buffer"]["task_labels"].tolist() == [1, 0, 1]
    assert "Mammoth's 'gem' can go on with the buffer" in notes


@pytest.mark.parametrize(
    ("learner", "note"),
    [
        ("er-ace", "Mammoth's 'er_ace' can go on with the buffer, with --use_custom_classifier 0, since its own"),
        ("gdumb", "Mammoth's 'gdumb' can go on with the buffer, as a sample of all examples where here it is one of"),
        ("agem", "Mammoth's 'agem' can go on with the buffer, adding to it at random where here every task has"),
    ],
)
def test_how_mammoth_goes_on_with_a_buffer_is_said(tmp_path: Path, learner: str, note: str) -> None:
    _, notes = laid(saved(tmp_path / "a.ckpt", f"{{name: {learner}, buffer_size: 3}}"))
    assert any(line.startswith(note) for line in notes)


@pytest.mark.parametrize(("learner", "method"), [("icarl", "icarl"), ("oewc", "ewc_on"), ("si", "si")])
def test_memories_that_mammoth_can_t_go_on_with_are_left_out(tmp_path: Path, learner: str, method: str) -> None:
    tree, notes = laid(saved(tmp_path / "a.ckpt", f"{{name: {learner}}}", anything=torch.ones(2)))
    assert "buffer" not in tree
    assert f"left out: what '{learner}' remembers, in a form that Mammoth's '{method}' can't go on with" in notes


@pytest.mark.parametrize(
    ("tasks", "note"),
    [
        ("{benchmark: perm-mnist}", "Mammoth permutes and rotates otherwise"),
        ("{benchmark: rot-mnist}", "Mammoth permutes and rotates otherwise"),
        ("{benchmark: seq-mnist, class_order: [1, 0, 2, 3, 4, 5, 6, 7, 8, 9]}", "Mammoth learns classes in the order"),
    ],
)
def test_tasks_that_mammoth_does_not_have_are_said(tmp_path: Path, tasks: str, note: str) -> None:
    _, notes = laid(saved(tmp_path / "a.ckpt", tasks=tasks))
    (line,) = [line for line in notes if line.startswith(note)]
    assert line.endswith("its tasks are not those that this model learned")


def test_an_empty_buffer_is_none(tmp_path: Path) -> None:
    tree, _ = laid(saved(tmp_path / "a.ckpt", filled=0))
    assert "buffer" not in tree


def test_a_network_that_mammoth_has_not_is_said(tmp_path: Path) -> None:
    _, notes = laid(saved(tmp_path / "a.ckpt", hidden="[4, 4, 4]"))
    assert "Mammoth has no backbone like this mlp: it will take the file for one of your own alone" in notes
