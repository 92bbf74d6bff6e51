"""Measure a classifier, from whichever file it is in, on a benchmark or on files of images, and write its predictions.

Promise: the same numbers from a checkpoint and from the files exported from it, up to rounding: images go in as bytes
everywhere. On a benchmark each task counts alike, as in the matrix of a run, and the tasks are those that the model
learned, unless the options say otherwise, which is then said.
"""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from milepost.archive import atomic_write
from milepost.errors import DataError
from milepost.images.benchmarks import BENCHMARKS
from milepost.images.engines import Engine
from milepost.images.exporting_graph import ClassifierFacts
from milepost.images.options import DIVIDED_BY, BenchmarkOptions, FileName, FilesOptions, ImagesOptions
from milepost.images.reading import read_named
from milepost.images.stream import make_stream
from milepost.options import OptionsModel

IMAGES_AT_ONCE = 256
"""Images in a batch unless the options say otherwise: enough to fill a few cores, little memory."""


class EvaluationOptions(OptionsModel):
    """Say what is evaluated: the test images of a benchmark, or files of images and labels."""

    benchmark: BenchmarkOptions | None = Field(
        None, description="benchmark, as `tasks` of a training run has it; its name will do"
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=2**32 - 1,
        description="seed that permutes and rotates a benchmark's tasks; null for the one that the model learned with, "
        "0 where it learned something else",
    )
    images: FileName | None = Field(None, description="file of images, as a training set has it")
    labels: FileName | None = Field(None, description="file of their labels")
    data_dir: FileName | None = Field(
        None, description="folder of the benchmark's files; null looks where training does"
    )
    images_at_once: int = Field(IMAGES_AT_ONCE, ge=1, description="images in a batch of predictions")

    @field_validator("benchmark", mode="before")
    @classmethod
    def _benchmark_name(cls, value: object) -> object:
        return {"benchmark": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> "EvaluationOptions":
        files = [name for name in ("images", "labels") if getattr(self, name) is not None]
        if self.benchmark is not None and files:
            raise ValueError(f"expected a benchmark or files, found both: benchmark and {', '.join(files)}")
        if self.benchmark is None and len(files) < 2:
            raise ValueError(f"expected benchmark, or images and labels, found {', '.join(files) or 'neither'}")
        if self.benchmark is None and self.data_dir is not None:
            raise ValueError(
                "data_dir is where a benchmark's files are; write it into images and labels, and remove it"
            )
        return self


@dataclass(frozen=True)
class Part:
    """Hold images [images, channels, rows, columns] and labels [images] of a task, and the classes that it has."""

    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """Hold the share of right answers of one task in %, among all classes and among its own; and what was predicted."""

    part: Part
    probabilities: NDArray[np.floating]
    accuracy: float
    task_accuracy: float | None


@dataclass(frozen=True)
class Evaluation:
    """Hold what was found, task by task, and the time per image in seconds.

    `notes` are lines on what to know about the tasks.
    """

    tasks: tuple[Measured, ...]
    names: tuple[str, ...]
    seconds_per_image: float
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the tasks, in %: `accuracy`, and `task_accuracy` where tasks have some of the classes only."""
        own = [task.task_accuracy for task in self.tasks if task.task_accuracy is not None]
        found = {"accuracy": float(np.mean([task.accuracy for task in self.tasks]))}
        return found | ({"task_accuracy": float(np.mean(own))} if own else {})

    def summary(self) -> str:
        """Write how much data there was, the accuracies on average and of each task, and the time."""
        count, tasks = sum(len(task.part.labels) for task in self.tasks), len(self.tasks)
        lines = [f"{count} images" + (f", {tasks} tasks" if tasks > 1 else ""), *self.notes]
        lines += [f"{name.replace('_', ' '):>13} {value:6.2f} %" for name, value in self.metrics.items()]
        if tasks > 1:
            width = max(len(task.part.name) for task in self.tasks)
            for task in self.tasks:
                own = "" if task.task_accuracy is None else f"  task accuracy {task.task_accuracy:6.2f} %"
                lines.append(f"  {task.part.name:<{width}}  accuracy {task.accuracy:6.2f} %{own}")
        return "\n".join([*lines, f"{1e6 * self.seconds_per_image:.1f} µs per image"])

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write a row for each image as CSV: its task and number, its class, and the likeliest class."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["task", "image", "label", "predicted", "probability"])
        for task in self.tasks:
            best = task.probabilities.argmax(1)
            for number, (label, found) in enumerate(zip(task.part.labels, best, strict=True)):
                likely = f"{task.probabilities[number, found]:.6f}"
                rows.writerow([task.part.name, number, self.names[label], self.names[found], likely])
        data = text.getvalue().encode()

        def put(file: BinaryIO) -> None:
            file.write(data)

        atomic_write(path, put, overwrite=overwrite)


def as_learned(options: EvaluationOptions, facts: ClassifierFacts) -> tuple[EvaluationOptions, tuple[str, ...]]:
    """Fill in what divides a benchmark into tasks as the model learned them; say in what the options differ from that.

    A model of another benchmark, or of files, says nothing about this one.
    """
    asked, learned = options.benchmark, facts.tasks
    if asked is None or learned is None or learned.get("benchmark") != asked.benchmark:
        return options, ()
    order = learned.get("class_order")
    known = {**learned, "class_order": None if order is None else tuple(order)}
    left = {name: known[name] for name in DIVIDED_BY if getattr(asked, name) is None and name in known}
    whole = asked.model_copy(update=left)
    seed = known.get("seed") if options.seed is None else options.seed
    expected = _divided(asked.benchmark, known)
    found = _divided(asked.benchmark, {**whole.model_dump(), "seed": seed})
    differing = [
        f"expected {name} {expected[name]}, found {found[name]}" for name in found if found[name] != expected[name]
    ]
    notes = (f"not the tasks that the model learned: {'; '.join(differing)}",) if differing else ()
    return options.model_copy(update={"benchmark": whole, "seed": seed}), notes


def _divided(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a benchmark is divided by, as far as its kind of tasks depends on it, with the usual filled in."""
    benchmark = BENCHMARKS[name]
    if benchmark.division in ("permuted", "rotated"):
        return {"seed": given.get("seed") or 0, "count": given.get("count") or benchmark.tasks}
    classes = benchmark.source.classes
    order = given.get("class_order") or range(classes)
    return {"class_order": list(order), "classes_per_task": given.get("classes_per_task") or classes // benchmark.tasks}


def read_parts(options: EvaluationOptions, folder: Path) -> list[Part]:
    """Return the test images, task by task. Raises DataError naming a file."""
    if options.benchmark is not None:
        return _benchmark_parts(options, options.benchmark, folder)
    files = FilesOptions(images=str(options.images), labels=str(options.labels))
    found = read_named(files, folder, "options")
    return [Part("", found.images.numpy(), found.labels.numpy(), ())]


def _benchmark_parts(options: EvaluationOptions, benchmark: BenchmarkOptions, folder: Path) -> list[Part]:
    given = benchmark if options.data_dir is None else benchmark.model_copy(update={"data_dir": options.data_dir})
    run = ImagesOptions.model_construct(tasks=given, seed=options.seed or 0)
    parts: list[Part] = []
    for task in make_stream(run, folder, torch.float32, torch.device("cpu")).tasks:
        held_out = cast(Any, task.held_out["test"])
        found = held_out.examples(torch.arange(len(held_out)))
        parts.append(Part(task.name, found["images"].numpy(), found["labels"].numpy(), task.classes))
    return parts


def evaluate_engine(
    engine: Engine, parts: Sequence[Part], options: EvaluationOptions, notes: tuple[str, ...] = ()
) -> Evaluation:
    """Classify all images in batches and compare with their labels.

    The time is that of classifying alone, after one batch that is not counted. Raises DataError where images or labels
    are not such as the classifier knows.
    """
    _check(engine, parts)
    size = options.images_at_once
    if parts:
        engine.predict(parts[0].images[:size])
    begin = time.perf_counter()
    found = [_probabilities(engine, part, size) for part in parts]
    seconds = time.perf_counter() - begin
    count = sum(len(part.labels) for part in parts)
    tasks = tuple(_measured(part, p) for part, p in zip(parts, found, strict=True))
    return Evaluation(tasks, engine.facts.names, seconds / max(1, count), notes)


def _check(engine: Engine, parts: Sequence[Part]) -> None:
    classes, brightest = len(engine.facts.names), engine.facts.preprocessing.largest
    highest = max((int(part.labels.max(initial=0)) for part in parts), default=0)
    if highest >= classes:
        raise DataError(
            f"could not evaluate: expected labels below {classes}, the number of classes that the model knows, found "
            f"{highest}. Give images of these classes."
        )
    found = max((int(part.images.max(initial=0)) for part in parts), default=0)
    if found > brightest:
        raise DataError(
            f"could not evaluate: expected images with values up to {brightest}, like those that the model was trained "
            f"on, found {found}. Give images of that kind."
        )


def _probabilities(engine: Engine, part: Part, size: int) -> NDArray[np.floating]:
    starts = range(0, len(part.labels), size)
    return np.concatenate([engine.predict(part.images[start : start + size])["probabilities"] for start in starts])


def _measured(part: Part, probabilities: NDArray[np.floating]) -> Measured:
    accuracy = 100.0 * float((probabilities.argmax(1) == part.labels).mean())
    own = np.array(part.classes, dtype=np.int64)
    if not 0 < len(own) < probabilities.shape[1]:
        return Measured(part, probabilities, accuracy, None)
    among = own[probabilities[:, own].argmax(1)]
    return Measured(part, probabilities, accuracy, 100.0 * float((among == part.labels).mean()))
