"""Say in Mammoth's words what a run is, and take up what a file of Mammoth's holds.

Promise: weights are put into the model by name; results into the matrix; the buffer of a learner that keeps a plain
sample into that learner's. What Mammoth does not write down is not made up: it is listed.
Failure: ResumeError where a file holds more than the run has room for.

Sources: `utils/args.py` of Mammoth (https://github.com/aimagelab/mammoth, commit e75a491) for the words, the `NAME` of
the classes in `models/` for the methods; `Er.observe` and `Derpp.observe` there, which offer every example of every
step to the buffer, for the number that a buffer has seen.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from milepost.checkpoint.mammoth import MammothState
from milepost.errors import ResumeError
from milepost.learning import Examples, ExampleSet, Learner
from milepost.learning.buffers import Reservoir
from milepost.learning.data import RECALLED
from milepost.options import RootOptions
from milepost.options.model import plain_data
from milepost.run.course import Course
from milepost.run.session import TrainingState
from milepost.run.task_files import data_name

METHODS = {"finetune": "sgd", "joint": "sgd", "oewc": "ewc_on", "er-ace": "er_ace"}
"""What learners are called in Mammoth, where it is something else."""

READ_OUTS = ("accuracy", "task_accuracy")
"""Metrics of the matrix that Mammoth has, too: read out over all classes, and over the task's own."""

COMPARED = ("dataset", "model", "joint", "buffer_size", "n_epochs", "batch_size", "lr", "optimizer", "seed")
_BYTE = 255.0
_LOGITS = "logits"


def arguments(options: RootOptions) -> dict[str, Any]:
    """Return the options as a command line of Mammoth's would give them."""
    data = plain_data(options)
    training, learner = data["architecture"]["training"], dict(data["learner"])
    optimizer, course, name = training["optimizer"], data["course"], learner.pop("name")
    kept = (
        {"minibatch_size": learner.get("minibatch_size") or training["batch_size"]} if "buffer_size" in learner else {}
    )
    return {
        "dataset": data_name(data.get("tasks")),
        "model": METHODS.get(name, name),
        "joint": int(name == "joint"),
        **learner,
        **kept,
        "seed": options.seed,
        "n_epochs": training["epochs"],
        "batch_size": training["batch_size"],
        "lr": optimizer["learning_rate"],
        "optimizer": str(optimizer["name"]).lower(),
        "optim_wd": optimizer["weight_decay"],
        "optim_mom": float(optimizer["arguments"].get("momentum", 0.0)),
        "optim_nesterov": bool(optimizer["arguments"].get("nesterov", False)),
        **{key: course[key] for key in ("savecheck", "ckpt_name", "start_from", "stop_after")},
    }


def other_arguments(found: MammothState, options: RootOptions) -> Iterator[str]:
    """List in what the file's command line differs from the options: what one can't tell is no difference."""
    own = arguments(options)
    for key in COMPARED:
        if key in own and key in found.args and found.args[key] != own[key]:
            yield f"made with another {key}: expected {own[key]!r}, found {found.args[key]!r}"


def take_results(found: MammothState, state: TrainingState, where: str) -> Iterator[str]:
    """Put results into the matrix; say what was done."""
    if not found.accuracy:
        yield "not loaded, the file has none: results"
        return
    if state.matrix is None or state.course.tasks < len(found.accuracy):
        raise ResumeError(
            f"could not begin with '{where}': expected results of at most {state.course.tasks} tasks, found those of "
            f"{len(found.accuracy)}. Give the tasks that the file was made with, or load its weights alone."
        )
    taken = [name for name in READ_OUTS if name in state.matrix.metrics]
    rows = {"accuracy": found.accuracy, "task_accuracy": found.task_accuracy}
    for number in range(len(found.accuracy)):
        cells: list[dict[str, float]] = [{} for _ in range(number + 1)]
        for name in (name for name in taken if number < len(rows[name])):
            for task, value in enumerate(rows[name][number][: number + 1]):
                cells[task][name] = value
        state.matrix.add(number, cells)
    yield f"loaded: results of {len(found.accuracy)} tasks"


def take_buffer(found: MammothState, state: TrainingState, options: RootOptions, where: str) -> Iterator[str]:
    """Put kept examples into the learner's buffer; say what was done."""
    learner, name = state.learner, options.learner.name
    buffer = getattr(learner, "buffer", None)
    if not found.buffer:
        yield from ["not loaded, the file has none: a buffer"] if buffer is not None else []
        return
    method = METHODS.get(name, name)
    if not isinstance(buffer, Reservoir) or found.args.get("model") != method:
        yield (
            f"not loaded: the buffer, which '{found.args.get('model')}' filled and '{method}' would have filled in "
            "another way"
        )
        return
    seen = examples_taken(state.course, found.tasks_done) if found.seen is None else found.seen
    kept = {attribute: values[:seen] for attribute, values in found.buffer.items()} if seen else found.buffer
    count = len(next(iter(kept.values())))
    if count > buffer.capacity:
        raise ResumeError(
            f"could not begin with '{where}': expected a buffer of at most {buffer.capacity} examples, found {count}. "
            f"Give learner.buffer_size={count}."
        )
    buffer.replace(_native(kept, learner.setting.examples, where))
    buffer.seen = max(seen, count)
    how = "as many as its tasks have, since the file does not say" if found.seen is None else "as the file says"
    yield f"loaded: a buffer of {count} examples, which has seen {buffer.seen} ({how})"


def examples_taken(course: Course, tasks: int) -> int:
    """Return how many examples the steps of the first tasks take, each as often as it is taken."""
    return sum(leg.order.examples * leg.epochs for leg in course.legs if leg.task < tasks and leg.stretch.trains)


def unknown_to_mammoth(learner: Learner) -> Iterator[str]:
    """List what begins anew, since no file of Mammoth's has it."""
    if type(learner).state_dict is not Learner.state_dict and not isinstance(
        getattr(learner, "buffer", None), Reservoir
    ):
        yield "not loaded, Mammoth does not save it: what the learner keeps"
    yield "begins anew, as with every task: the optimizer"
    yield "begins anew, Mammoth does not save it: random numbers, position in the metrics"


def _native(buffer: Mapping[str, Tensor], examples: ExampleSet, where: str) -> Examples:
    """Turn what Mammoth keeps of examples into fields as the data set has them.

    It keeps numbers in [0, 1] where the files have bytes (`ToTensor` of torchvision, by which its data sets are read).
    """
    native = examples.examples(torch.tensor([0]))
    fields: dict[str, Any] = {}
    for name, like in native.items():
        source = buffer.get("labels" if name == "labels" else "examples")
        if source is None or not isinstance(like, Tensor) or source[0].numel() != like[0].numel():
            found = {attribute: tuple(value.shape[1:]) for attribute, value in buffer.items()}
            shapes = {field: tuple(cast(Tensor, value).shape[1:]) for field, value in native.items()}
            raise ResumeError(
                f"could not begin with '{where}': expected a buffer of examples with {shapes}, found {found}. "
                "Give the tasks that the file was made with."
            )
        values = source.reshape(-1, *like.shape[1:])
        if like.dtype == torch.uint8 and source.is_floating_point():
            values = (values * _BYTE).round().clamp(0, _BYTE)
        fields[name] = values.to(like.dtype).to(like.device)
    if _LOGITS in buffer:
        fields[f"{RECALLED}{_LOGITS}"] = buffer[_LOGITS].to(next(iter(fields.values())).device)
    return fields
