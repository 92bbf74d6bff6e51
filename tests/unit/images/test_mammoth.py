"""A classifier's checkpoint is laid out so that Mammoth's own reading rules take it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.checkpoint import CheckpointRecord, load_checkpoint, save_checkpoint
from milepost.checkpoint.foreign import open_foreign
from milepost.images.mammoth import laid_out
from milepost.images.mlp import ARCHITECTURE
from milepost.learning import TaskMatrix
from milepost.learning.buffers import make_buffer
from milepost.learning.learners import DER
from milepost.options import expanded_yaml, load_options, with_learner

MAMMOTH = Path(__file__).parents[2] / "compat" / "foreign" / "mammoth-er-safe.pt"


def saved(path: Path, *, hidden: str = "[4, 4]", filled: int = 2) -> Path:
    """Save a checkpoint of a run that has learned two of five tasks."""
    text = (
        f"architecture: {{name: mlp, model: {{hidden: {hidden}}}}}\n"
        "tasks: {benchmark: seq-mnist}\nlearner: {name: der, buffer_size: 3}\n"
    )
    options = load_options(None, with_learner(ARCHITECTURE.options_class(), DER.options), text=text)
    model = ARCHITECTURE.build.load()(options.architecture.model, shape=(1, 28, 28), classes=10)
    buffer = make_buffer("reservoir", 3, 0)
    pixels = torch.full((filled, 1, 28, 28), 51, dtype=torch.uint8)
    fields = {"images": pixels, "labels": torch.arange(filled), "recalled.logits": torch.ones(filled, 10)}
    if filled:
        buffer.add(fields)
    matrix = TaskMatrix(list("abcde"), {"accuracy": "max", "task_accuracy": "max"})
    matrix.add(0, [{"accuracy": 90.0, "task_accuracy": 91.0}, {"accuracy": 0.0, "task_accuracy": 50.0}])
    matrix.add(1, [{"accuracy": 30.0, "task_accuracy": 85.0}, {"accuracy": 95.0, "task_accuracy": 96.0}])
    state: dict[str, Any] = {
        "model": model,
        "optimizer": {"state": {}, "groups": [{"lr": 0.03, "momentum": 0}]},
        "facts": {"shape": [1, 28, 28], "classes": 10},
        "matrix": matrix.state_dict(),
        "learner": {"buffer": buffer.state_dict(), "drawn": 4},
        "random": {"x": 1},
    }
    record = CheckpointRecord("run", versions={"mlp": 1})
    save_checkpoint(path, state, options_yaml=expanded_yaml(options), record=record, durability="process")
    return path


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
    assert buffer["examples"][0].unique().tolist() == [pytest.approx(0.2)]
    assert buffer["examples"][2].unique().tolist() == [0.0]
    known = ("dataset", "model", "backbone", "mlp_hidden_size", "num_classes", "buffer_size", "joint")
    assert [tree["args"][key] for key in known] == ["seq-mnist", "der", "mnistmlp", 4, 10, 3, 0]
    assert notes == [
        "model: 16 names, results of 2 tasks",
        "buffer: 2 examples in 3 places",
        "left out: that the buffer has seen 2 examples; Mammoth will take it for 3",
        "left out, Mammoth has no place for it: random",
    ]


def test_an_empty_buffer_is_none(tmp_path: Path) -> None:
    tree, _ = laid(saved(tmp_path / "a.ckpt", filled=0))
    assert "buffer" not in tree


def test_a_network_that_mammoth_has_not_is_said(tmp_path: Path) -> None:
    _, notes = laid(saved(tmp_path / "a.ckpt", hidden="[4, 4, 4]"))
    assert "Mammoth has no backbone like this mlp: it will take the file for one of your own alone" in notes
