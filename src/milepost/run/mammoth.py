"""Say in Mammoth's words what a run is, and take up what a file of Mammoth's holds.

Promise: weights are put into the model by name; results into the matrix; the buffer of a learner that keeps a plain
sample into that learner's. What Mammoth does not write down is not made up: it is listed, as is every argument that
differs. Of a file that was made with other tasks the weights are taken alone.
Failure: ResumeError where a file holds more than the run has room for.

Sources: `utils/args.py` of Mammoth (https://github.com/aimagelab/mammoth, commit e75a491) for the words, the `NAME` of
the classes in `models/` for the methods and their parsers for the methods' own words; `Er.observe` and `Derpp.observe`
there, which offer every example of every step to the buffer, for the number that a buffer has seen; for which tasks
there are, `datasets/transforms/`, `ContinualDataset` in `datasets/utils/continual_dataset.py` and the `N_TASKS` of the
data sets.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast, runtime_checkable

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
from milepost.run.task_files import JOINT, data_name

METHODS = {"finetune": "sgd", "joint": "sgd", "oewc": "ewc_on", "er-ace": "er_ace"}
"""What learners are called in Mammoth, where it is something else."""

READ_OUTS = ("accuracy", "task_accuracy")
"""Metrics of the matrix that Mammoth has, too: read out over all classes, and over the task's own."""

KEYS = {"icarl": {"wd_reg": "opt_wd"}}
"""What a learner's own keys are called in Mammoth, where it is something else, by the learner."""

PRIVATE = {"savecheck", "ckpt_name", "start_from", "stop_after"}
"""Arguments that say where a run begins, ends and leaves files: no two runs need to have them in common."""

NEUTRAL: Mapping[str, Any] = {
    "permute_classes": False,
    "custom_class_order": None,
    "custom_task_order": None,
    "dataset_config": None,
    "label_perc": 1,
    "label_perc_by_class": 1,
    "noise_rate": 0,
    "fitting_mode": "epochs",
    "n_iters": None,
    "drop_last": False,
    "code_optimization": 0,
    "debug_mode": False,
    "inference_only": False,
    "task_free": False,
    "use_custom_classifier": False,
    "cutmix_alpha": None,
    "compute_theoretical_best": False,
    "use_original_icarl_transform": False,
}
"""Arguments that nothing here is like, with the values at which they do nothing."""

BESIDE = {
    "noise_rate": ("noise_type",),
    "validation": ("validation_mode",),
    "lr_scheduler": ("scheduler_mode", "lr_milestones", "sched_multistep_lr_gamma"),
}
"""Arguments that mean something where another one is not the same."""

DRAWN = ("perm-", "rot-")
"""What names of data sets begin with whose tasks are drawn: there from a generator, here as a function of the seed."""

TASKS = {"seq-mnist": 5, "seq-cifar10": 5, "seq-cifar100": 10}
"""Into how many tasks Mammoth divides what both can have."""

UNLABELED = ("der",)
"""Methods that look at no labels of kept examples, and for which Mammoth keeps none."""

UNKNOWN = -1
"""A label that the file does not have."""

_BYTE = 255
_LOGITS = "logits"


@runtime_checkable
class Scaled(Protocol):
    """Examples whose values are whole numbers from 0 to `largest`, which a model takes for 0 … 1."""

    @property
    def largest(self) -> int:
        """The largest value."""
        ...


def arguments(options: RootOptions) -> dict[str, Any]:
    """Return the options as a command line of Mammoth's would give them."""
    data = plain_data(options)
    training, learner = data["architecture"]["training"], cast(dict[str, Any], dict(data["learner"]))
    optimizer, course, name = training["optimizer"], data["course"], learner.pop("name")
    renamed: Mapping[str, str] = KEYS.get(name, {})
    learner = {renamed.get(key, key): value for key, value in learner.items()}
    kept = (
        {"minibatch_size": learner.get("minibatch_size") or training["batch_size"]} if "buffer_size" in learner else {}
    )
    return {
        "dataset": data_name(data.get("tasks")),
        "model": METHODS.get(name, name),
        "joint": int(name == JOINT),
        **learner,
        **kept,
        **({"use_custom_classifier": False} if name == "er-ace" else {}),
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


def put_found(found: MammothState, state: TrainingState, options: RootOptions, where: str) -> Iterator[str]:
    """Take up what a file holds beside weights, and go to the task after those it has results of; say what was done."""
    yield from other_arguments(found, options)
    others = other_tasks(found, options, state.course.tasks)
    if others is None:
        yield from take_results(found, state, where)
        yield from take_buffer(found, state, options, where)
    else:
        held = [name for name, held in (("results", found.accuracy), ("buffer", found.buffer)) if held]
        yield f"not loaded, they belong to other tasks: {' and '.join(held) or 'results'} ({others})"
    yield from unknown_to_mammoth(state.learner)
    if found.tasks_done and others is None:
        state.position.step = state.course.first_step(found.tasks_done)


def other_arguments(found: MammothState, options: RootOptions) -> Iterator[str]:
    """List in what the file's command line differs from the options: what one can't tell is no difference."""
    data, own = plain_data(options), {**NEUTRAL, **arguments(options)}
    schedule = data["architecture"]["training"]["schedule"]["name"]
    own["lr_scheduler"] = None if schedule == "constant" else schedule
    own["validation"] = round(100 * _chosen(data, "validation"), 6) if _chosen(data, "validation") else None
    for key, value in own.items():
        if key in PRIVATE or key not in found.args or found.args[key] == value:
            continue
        yield f"made with another {key}: expected {value!r}, found {found.args[key]!r}"
        for further in BESIDE.get(key, ()):
            if found.args[key] and further in found.args:
                yield f"made with another {further}: expected none, found {found.args[further]!r}"


def other_tasks(found: MammothState, options: RootOptions, tasks: int) -> str | None:
    """Say why the file's tasks are not those of the run; None where they are, as far as one can tell."""
    data, args = plain_data(options), found.args
    own, theirs = data_name(data.get("tasks")), args.get("dataset")
    named = isinstance(data.get("tasks"), dict)
    if named and theirs is not None and theirs != own:
        return f"those of '{theirs}', not of '{own}'"
    if named and own.startswith(DRAWN):
        return f"Mammoth's permutations and rotations of '{own}' are drawn by another generator"
    orders = ("permute_classes", "custom_class_order", "custom_task_order")
    ordered = [key for key in orders if args.get(key) not in (None, False, 0, "")]
    if ordered or _chosen(data, "class_order") is not None:
        reason = ", ".join(ordered) or "tasks.class_order"
        return f"{reason}: classes come in another order, and outputs of the file's model may stand for other classes"
    usual = tasks if options.learner.name == JOINT else TASKS.get(own, tasks)
    if args.get("dataset_config") is None and usual != tasks:
        return f"expected {usual} tasks, as Mammoth has, found {tasks}"
    return None


def _chosen(data: Mapping[str, Any], key: str) -> Any:
    """Return a key of the benchmark; None where there is none."""
    tasks = data.get("tasks")
    return cast(dict[str, Any], tasks).get(key) if isinstance(tasks, dict) else None


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
    if found.args.get("model") != method:
        yield (
            f"not loaded: the buffer, which '{found.args.get('model')}' filled and '{method}' would have filled in "
            "another way"
        )
        return
    if not isinstance(buffer, Reservoir):
        yield f"not loaded: the buffer, which '{method}' keeps in another form here"
        return
    seen = examples_taken(state.course, found.tasks_done) if found.seen is None else found.seen
    kept = {attribute: values[: seen or None] for attribute, values in found.buffer.items()}
    count = len(next(iter(kept.values())))
    if count > buffer.capacity:
        raise ResumeError(
            f"could not begin with '{where}': expected a buffer of at most {buffer.capacity} examples, found {count}. "
            f"Give learner.buffer_size={count}."
        )
    if method in UNLABELED and "labels" not in kept:
        kept["labels"] = torch.full((count,), UNKNOWN)
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
    largest = examples.largest if isinstance(examples, Scaled) else _BYTE
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
            values = (values * largest).round().clamp(0, largest)
        fields[name] = values.to(like.dtype).to(like.device)
    if _LOGITS in buffer:
        fields[f"{RECALLED}{_LOGITS}"] = buffer[_LOGITS].to(next(iter(fields.values())).device)
    return fields
