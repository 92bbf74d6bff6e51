"""Lay out a classifier's checkpoint as Mammoth has its own, for Mammoth to load.

Promise: the names are those that Mammoth's backbones of the same shape have, so that its `--loadcheck` takes every
weight; results and kept examples come along, in Mammoth's types. What its format has no place for is listed.
Failure: ConversionError for a model that is no classifier.

Sources: `BaseMNISTMLP` in `backbone/MNISTMLP.py`, `resnet18` in `backbone/ResNetBlock.py` and `Buffer.init_tensors` in
`utils/buffer.py` of Mammoth (https://github.com/aimagelab/mammoth, commit e75a491).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from milepost.checkpoint import Checkpoint
from milepost.checkpoint.mammoth import KeptExamples, lay_out, optimizer_state
from milepost.errors import ConversionError
from milepost.learning.data import RECALLED
from milepost.learning.stores import Store
from milepost.options import RootOptions
from milepost.run.domain import Domain
from milepost.run.mammoth import READ_OUTS, arguments
from milepost.run.trained import upgraded

BACKBONES = {"mlp": "mnistmlp", "resnet18": "resnet18"}
"""What architectures are called in Mammoth; others are not there."""

MLP_WIDTHS = 2
"""Hidden layers, of one width, that Mammoth's perceptron has."""

# Its perceptron has every layer three times: under its own name, in `_features` and in `net`.
_MLP_PLACES = {"fc1": ("_features.0", "net.0.0"), "fc2": ("_features.2", "net.0.2"), "classifier": ("net.1",)}
_FIELDS = {"images": "examples", "labels": "labels", f"{RECALLED}logits": "logits"}
_BYTE = 255.0


def laid_out(checkpoint: Checkpoint) -> tuple[dict[str, Any], list[str]]:
    """Return the content of a file of Mammoth's, and what to know about it. Raises ConversionError."""
    tensors = cast(dict[str, Tensor], checkpoint.state("model"))
    architecture, options, tensors = upgraded(checkpoint, tensors)
    domain: Domain = architecture.domain.load()
    if domain.name != "images":
        raise ConversionError(
            f"could not convert '{checkpoint.path}' for Mammoth: expected a classifier, found a model of the domain "
            f"'{domain.name}'. Convert its weights alone: leave --to away."
        )
    model = domain.rebuild(options, architecture, cast(Mapping[str, Any], checkpoint.state("facts")))
    parameters = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    accuracy, task_accuracy = _results(checkpoint)
    tree = lay_out(
        {**tensors, **_places(architecture.name, tensors)},
        {**arguments(options), **_backbone(architecture.name, options, checkpoint)},
        accuracy,
        task_accuracy,
        optimizer=optimizer_state(cast(dict[str, Any], checkpoint.state("optimizer")), parameters),
        buffer=_kept(checkpoint, options),
    )
    return tree, list(_notes(checkpoint, tree, architecture.name, options))


def _places(architecture: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the further names that Mammoth's backbone has for its tensors."""
    if architecture != "mlp":
        return {}
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        layer, _, kind = name.rpartition(".")
        found |= {f"{place}.{kind}": value for place in _MLP_PLACES.get(layer, ())}
    return found


def _backbone(architecture: str, options: RootOptions, checkpoint: Checkpoint) -> dict[str, Any]:
    facts = cast(Mapping[str, Any], checkpoint.state("facts"))
    given = cast(Any, options.architecture.model)
    sizes = {"mlp_hidden_size": given.hidden[0]} if architecture == "mlp" and given.hidden else {}
    sizes |= {"num_filters": given.filters} if architecture == "resnet18" else {}
    return {"backbone": BACKBONES.get(architecture, architecture), "num_classes": int(facts["classes"]), **sizes}


def _results(checkpoint: Checkpoint) -> tuple[list[list[float]], list[list[float]] | None]:
    """Return the rows of the matrix up to the task learned last: the first so many entries of each."""
    if "matrix" not in checkpoint.components:
        return [], None
    rows = cast(Mapping[str, list[list[float | None]]], checkpoint.state("matrix")["rows"])
    found = [_rows(rows[name]) if name in rows else None for name in READ_OUTS]
    return found[0] or [], found[1]


def _rows(rows: Sequence[Sequence[float | None]]) -> list[list[float]]:
    known = [
        [float(value) for value in row[: number + 1] if value is not None and not math.isnan(value)]
        for number, row in enumerate(rows)
    ]
    return [row for row in known if row]


def _kept(checkpoint: Checkpoint, options: RootOptions) -> KeptExamples | None:
    """Return the examples that the learner keeps in a buffer, as attributes of Mammoth's: bytes become numbers in
    [0, 1], as `ToTensor` of torchvision makes them.
    """
    size = getattr(options.learner, "buffer_size", None)
    state = checkpoint.state("learner") if "learner" in checkpoint.components else {}
    content = state.get("buffer", {}).get("content") if isinstance(state.get("buffer"), dict) else None
    if size is None or content is None:
        return None
    store = Store(size)
    store.load_state_dict(content)
    kept = store.get(torch.arange(len(store)))
    found: dict[str, Tensor] = {}
    for name, attribute in _FIELDS.items():
        values = kept.get(name)
        if isinstance(values, Tensor):
            found[attribute] = values / _BYTE if values.dtype == torch.uint8 and name == "images" else values
    return KeptExamples(found, size)


def _notes(checkpoint: Checkpoint, tree: Mapping[str, Any], architecture: str, options: RootOptions) -> Iterator[str]:
    yield f"model: {len(tree['model'])} names, results of {len(tree['results'][0])} tasks"
    hidden = getattr(options.architecture.model, "hidden", ())
    if architecture not in BACKBONES or (architecture == "mlp" and (len(hidden) != MLP_WIDTHS or len(set(hidden)) > 1)):
        yield f"Mammoth has no backbone like this {architecture}: it will take the file for one of your own alone"
    if "buffer" in tree:
        buffer = cast(Any, checkpoint.state("learner"))["buffer"]
        places = len(tree["buffer"]["examples"])
        yield f"buffer: {buffer['content']['length']} examples in {places} places"
        yield f"left out: that the buffer has seen {buffer['seen']} examples; Mammoth will take it for {places}"
    taken = {"model", "optimizer", "facts", "matrix", *(["learner"] if "buffer" in tree else [])}
    left_out = sorted(set(checkpoint.components) - taken)
    yield f"left out, Mammoth has no place for it: {', '.join(left_out)}"
