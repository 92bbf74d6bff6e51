"""Lay out a classifier's checkpoint as Mammoth has its own, for Mammoth to load.

Promise: the names are those that Mammoth's backbones of the same shape have, so that its `--loadcheck` takes every
weight; results and kept examples come along, in Mammoth's types. What its format has no place for is listed.
Failure: ConversionError for a model that is no classifier.

Sources: `BaseMNISTMLP` in `backbone/MNISTMLP.py`, `resnet18` in `backbone/ResNetBlock.py`, `Buffer.init_tensors` and
`get_data` in `utils/buffer.py`, `load_buffer` in `models/utils/continual_model.py`, `train` in `utils/training.py` and
the methods in `models/` of Mammoth (https://github.com/aimagelab/mammoth, commit e75a491). A method there takes the
attributes of its buffer by their number: one more or one less than its own ends in an error.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from milepost.checkpoint import Checkpoint
from milepost.checkpoint.mammoth import KeptExamples, lay_out, optimizer_state
from milepost.errors import ConversionError
from milepost.images.options import BenchmarkOptions, ImagesOptions
from milepost.images.preprocessing import Preprocessing
from milepost.learning import find_learner
from milepost.learning.data import RECALLED
from milepost.learning.stores import Store
from milepost.options import RootOptions
from milepost.run.domain import Domain
from milepost.run.mammoth import DRAWN, METHODS, READ_OUTS, arguments
from milepost.run.trained import upgraded
from milepost.run.versions import LEARNER, remembered, saved_section

BACKBONES = {"mlp": "mnistmlp", "resnet18": "resnet18"}
"""What architectures are called in Mammoth; others are not there."""

MLP_WIDTHS = 2
"""Hidden layers, of one width, that Mammoth's perceptron has."""

# Its perceptron has every layer three times: under its own name, in `_features` and in `net`.
_MLP_PLACES = {"fc1": ("_features.0", "net.0.0"), "fc2": ("_features.2", "net.0.2"), "classifier": ("net.1",)}
_FIELDS = {"images": "examples", "labels": "labels", f"{RECALLED}logits": "logits"}

BUFFERS = {
    "er": "",
    "er-ace": "with --use_custom_classifier 0, since its own classifier is another",
    "der": "",
    "derpp": "",
    "agem": "adding to it at random where here every task has its share",
    "gem": "",
    "gdumb": "as a sample of all examples where here it is one of every class",
}
"""Learners that Mammoth has, too, and whose buffer its method can go on with; and how, where not as here."""

WITHOUT_LABELS = ("der",)
"""Learners of whose examples Mammoth keeps no labels."""

WITH_TASKS = ("gem",)
"""Learners of whose examples Mammoth keeps the tasks."""


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
        buffer=_kept(checkpoint),
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


def _kept(checkpoint: Checkpoint) -> KeptExamples | None:
    """Return the examples that the learner keeps in a buffer, as attributes of Mammoth's: bytes become the numbers in
    [0, 1] that the model takes them for, as `ToTensor` of torchvision makes them.
    """
    section, state = _memory(checkpoint)
    name, size = str(section.get("name")), section.get("buffer_size")
    content = state.get("buffer", {}).get("content") if isinstance(state.get("buffer"), dict) else None
    if size is None or content is None:
        return None
    store = Store(size)
    store.load_state_dict(content)
    if not len(store):
        return None
    kept = store.get(torch.arange(len(store)))
    facts = cast(Mapping[str, Any], checkpoint.state("facts"))
    largest = Preprocessing.from_facts(facts["preprocessing"]).largest
    found: dict[str, Tensor] = {}
    for field, attribute in _FIELDS.items():
        values = kept.get(field)
        if isinstance(values, Tensor) and not (field == "labels" and name in WITHOUT_LABELS):
            found[attribute] = values / largest if values.dtype == torch.uint8 and field == "images" else values
    if name in WITH_TASKS:
        found["task_labels"] = _tasks(state["buffer"]["members"], len(store))
    return KeptExamples(found, size)


def _tasks(members: Mapping[Any, Tensor], count: int) -> Tensor:
    """Return the task of each example [examples] of a buffer, given the places of each task's."""
    tasks = torch.zeros(count, dtype=torch.long)
    for task, places in members.items():
        tasks[places] = int(task)
    return tasks


def _memory(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the learner's options and what it remembers, as its installed version has them."""
    if LEARNER not in checkpoint.components:
        return {}, {}
    section = saved_section(checkpoint)
    return remembered(checkpoint, find_learner(str(section.get("name"))), section)


def _notes(checkpoint: Checkpoint, tree: Mapping[str, Any], architecture: str, options: RootOptions) -> Iterator[str]:
    done = len(tree["results"][0])
    yield f"model: {len(tree['model'])} names, results of {done} tasks"
    if done:
        yield f"Mammoth goes on behind them with --start_from {done}; without it, it begins with the first task"
    hidden = getattr(options.architecture.model, "hidden", ())
    if architecture not in BACKBONES or (architecture == "mlp" and (len(hidden) != MLP_WIDTHS or len(set(hidden)) > 1)):
        yield f"Mammoth has no backbone like this {architecture}: it will take the file for one of your own alone"
    yield from _notes_on_tasks(options)
    yield from _notes_on_memory(checkpoint, tree)
    taken = {"model", "optimizer", "facts", "matrix", LEARNER}
    left_out = sorted(set(checkpoint.components) - taken)
    if left_out:
        yield f"left out, Mammoth has no place for it: {', '.join(left_out)}"


def _notes_on_tasks(options: RootOptions) -> Iterator[str]:
    """Say where Mammoth's tasks are not those that the run learned."""
    tasks = cast(ImagesOptions, options).tasks
    if not isinstance(tasks, BenchmarkOptions):
        return
    if tasks.benchmark.startswith(DRAWN):
        yield "Mammoth permutes and rotates otherwise: its tasks are not those that this model learned"
    if tasks.class_order is not None:
        yield "Mammoth learns classes in the order of their numbers: its tasks are not those that this model learned"


def _notes_on_memory(checkpoint: Checkpoint, tree: Mapping[str, Any]) -> Iterator[str]:
    """Say what is there of the learner's memory, and whether Mammoth can go on with it."""
    section, state = _memory(checkpoint)
    name = str(section.get("name"))
    method = METHODS.get(name, name)
    if "buffer" not in tree:
        if state and name not in BUFFERS:
            yield f"left out: what '{name}' remembers, in a form that Mammoth's '{method}' can't go on with"
        return
    kept, places = int(state["buffer"]["content"]["length"]), len(tree["buffer"]["examples"])
    repeated = "; the other places repeat them, since Mammoth takes each for an example" if kept < places else ""
    yield f"buffer: {kept} examples in {places} places{repeated}"
    yield f"left out: that the buffer has seen {state['buffer']['seen']} examples; Mammoth will take it for {places}"
    if name in BUFFERS:
        how = f", {BUFFERS[name]}" if BUFFERS[name] else ""
        yield f"Mammoth's '{method}' can go on with the buffer{how}"
    else:
        yield f"whether a method '{method}' of Mammoth's can go on with the buffer is not known here"
