"""Make the task stream of the options: one set of training examples, and which of its numbers each task has.

Promise: a pure function of options, seed and files. The first task of a stream is made like the others. Where all tasks
show the same images, those that are held out for validation are the same in every task, so that no task is trained on
what another one is guided by. Failure: DataError naming a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from torch import Tensor

from milepost.errors import DataError
from milepost.images.augmentation import Augmentation
from milepost.images.benchmarks import BENCHMARKS, Benchmark
from milepost.images.dataset import ImagePart, ImageSet
from milepost.images.labelled import Labelled, joined
from milepost.images.maps import task_maps
from milepost.images.options import BenchmarkOptions, ImagesOptions, TaskOptions
from milepost.images.preprocessing import NORMALIZED, Preprocessing, preprocessing_for
from milepost.images.reading import Published, class_names, read_named, read_source
from milepost.learning import Task
from milepost.run.order import SPLIT_TASK, permutation

Files = Mapping[str, Sequence[tuple[str, str]]]
"""For every set the names and digests of its files."""


@dataclass(frozen=True)
class Stream:
    """Hold the tasks, the set that their numbers count in, and the held-out examples of all of them together.

    `record` says which examples went where; `preprocessing` and `names` are facts of the model.
    """

    training: ImageSet
    validation: ImagePart
    test: ImagePart
    tasks: tuple[Task, ...]
    names: tuple[str, ...]
    preprocessing: Preprocessing
    record: Mapping[str, Any]


@dataclass(frozen=True)
class _Share:
    """Say what a task has: its name, its numbers in the sets, and its classes."""

    name: str
    training: Tensor
    validation: Tensor
    test: Tensor
    classes: tuple[int, ...]


@dataclass(frozen=True)
class _Making:
    """Hold what every set is made with."""

    preprocessing: Preprocessing
    dtype: torch.dtype
    device: torch.device

    def set(self, images: Labelled, maps: Tensor | None = None, augmentation: Augmentation | None = None) -> ImageSet:
        return ImageSet.of(images, self.preprocessing, self.dtype, self.device, maps, augmentation)


def make_stream(options: ImagesOptions, folder: Path, dtype: torch.dtype, device: torch.device) -> Stream:
    """Read the images that the options name, from paths that begin at `folder`, and divide them into tasks."""
    if isinstance(options.tasks, BenchmarkOptions):
        return _benchmark(options.tasks, options.seed, folder, dtype, device)
    return _listed(options.tasks, folder, dtype, device)


def _benchmark(options: BenchmarkOptions, seed: int, folder: Path, dtype: torch.dtype, device: torch.device) -> Stream:
    benchmark = BENCHMARKS[options.benchmark]
    published = read_source(benchmark.source, options.data_dir, folder)
    making = _Making(preprocessing_for(benchmark.source.name, published.training.largest), dtype, device)
    _, rows, columns = published.training.shape
    tasks = options.count or benchmark.tasks
    maps = task_maps(benchmark.division, seed, tasks, rows, columns)
    augmentation = Augmentation(seed) if benchmark.source.name in NORMALIZED else None
    training = making.set(published.training, maps, augmentation)
    test = making.set(published.test, maps)
    kept, held_out = _held_out(options.validation, seed, len(published.training))
    shares = list(_shares(options, benchmark, published, kept, held_out, tasks))
    files = {"training": published.training.digests, "test": published.test.digests}
    return _stream(training, replace(training, augmentation=None), test, shares, published.names, making, files)


def _held_out(fraction: float, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Divide the training images into those that are trained on and those that guide the run, both in order."""
    wanted = max(1, round(fraction * count)) if fraction > 0 else 0
    drawn = permutation(seed, SPLIT_TASK, 0, count)
    return drawn[wanted:].sort().values, drawn[:wanted].sort().values


def _shares(
    options: BenchmarkOptions, benchmark: Benchmark, published: Published, kept: Tensor, held_out: Tensor, tasks: int
) -> Sequence[_Share]:
    every = tuple(range(benchmark.source.classes))
    training, test = published.training.labels, published.test.labels
    if benchmark.division != "classes":
        sizes, everything = (len(training), len(test)), torch.arange(len(test))
        return [
            _Share(
                _task_name(benchmark, task), kept + task * sizes[0], held_out + task * sizes[0],
                everything + task * sizes[1], every,
            )
            for task in range(tasks)
        ]  # fmt: skip
    order = options.class_order or every
    step = options.classes_per_task or len(every) // benchmark.tasks
    groups = [order[start : start + step] for start in range(0, len(order), step)]
    return [
        _Share(
            "-".join(published.names[label] for label in group) if step <= 2 else f"task {number}",
            kept[_among(training[kept], group)],
            held_out[_among(training[held_out], group)],
            torch.nonzero(_among(test, group)).flatten(),
            tuple(group),
        )
        for number, group in enumerate(groups)
    ]


def _task_name(benchmark: Benchmark, task: int) -> str:
    return benchmark.name if benchmark.division == "whole" else f"{benchmark.division} {task}"


def _among(labels: Tensor, classes: Sequence[int]) -> Tensor:
    return torch.isin(labels, torch.tensor(classes))


def _listed(tasks: Sequence[TaskOptions], folder: Path, dtype: torch.dtype, device: torch.device) -> Stream:
    """Put the sets of all tasks one behind the other."""
    parts: dict[str, list[Labelled | None]] = {"training": [], "validation": [], "test": []}
    for number, task in enumerate(tasks):
        for name, found in parts.items():
            chosen = getattr(task, f"{name}_set")
            found.append(read_named(chosen, folder, f"tasks.{number}.{name}_set") if chosen else None)
    present = {name: [each for each in found if each is not None] for name, found in parts.items()}
    names = class_names([each for found in present.values() for each in found])
    joined([each for found in present.values() for each in found[:1]], "the sets")
    pools = {name: joined(found, f"the {name} sets") for name, found in present.items() if found}
    pools.setdefault("validation", pools["training"])
    making = _Making(preprocessing_for(None, 255), dtype, device)
    sets = {name: making.set(images) for name, images in pools.items()}
    starts = dict.fromkeys(parts, 0)
    shares: list[_Share] = []
    for number, task in enumerate(tasks):
        own = {name: found[number] for name, found in parts.items()}
        numbers: dict[str, Tensor] = {}
        for name, images in own.items():
            count = 0 if images is None else len(images)
            numbers[name] = torch.arange(starts[name], starts[name] + count)
            starts[name] += count
        labels = torch.cat([images.labels for images in own.values() if images is not None])
        shares.append(_Share(task.name, **numbers, classes=tuple(labels.unique().tolist())))
    files = {name: images.digests for name, images in pools.items() if present[name]}
    return _stream(sets["training"], sets["validation"], sets["test"], shares, names, making, files)


def _stream(
    training: ImageSet,
    validation: ImageSet,
    test: ImageSet,
    shares: Sequence[_Share],
    names: tuple[str, ...],
    making: _Making,
    files: Files,
) -> Stream:
    for share in shares:
        for kind, numbers in (("training", share.training), ("test", share.test)):
            if not len(numbers):
                raise DataError(
                    f"could not form the task '{share.name}': expected at least 1 {kind} image, found none. "
                    "Hold out fewer images, or give more classes to a task."
                )
    tasks = tuple(
        Task(
            share.name,
            share.training,
            {
                name: ImagePart(whole, numbers, share.classes)
                for name, whole, numbers in (("validation", validation, share.validation), ("test", test, share.test))
                if len(numbers)
            },
            share.classes,
        )
        for share in shares
    )
    every = tuple(range(len(names)))
    return Stream(
        training,
        ImagePart(validation, torch.cat([share.validation for share in shares]), every),
        ImagePart(test, torch.cat([share.test for share in shares]), every),
        tasks,
        names,
        making.preprocessing,
        _record(shares, training, files),
    )


def _record(shares: Sequence[_Share], training: ImageSet, files: Files) -> dict[str, Any]:
    """Say which examples went where: how many, and a digest of their numbers and of the maps they are seen through."""
    numbered = {
        name: {f"{i}:{file}": digest for i, (file, digest) in enumerate(found)} for name, found in files.items()
    }
    maps = {} if training.maps is None else {"maps": _digest(training.maps)}
    tasks = [
        {
            "name": share.name,
            "classes": list(share.classes),
            **{
                name: f"{len(numbers)} images, {_digest(numbers)}"
                for name, numbers in (
                    ("training", share.training),
                    ("validation", share.validation),
                    ("test", share.test),
                )
            },
        }
        for share in shares
    ]
    return {"files": numbered, "tasks": tasks, **maps}


def _digest(numbers: Tensor) -> str:
    return f"blake3:{blake3(numbers.cpu().numpy().tobytes()).hexdigest()}"
