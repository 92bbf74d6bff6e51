"""Options of the domain of classifiers: which images, divided into which tasks, and how a network is trained on them.

Needs no torch. What is chosen wrongly whatever the files hold (a class that a benchmark has not, say) is refused here.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from milepost.images.benchmarks import BENCHMARKS
from milepost.options import OptimizerOptions, OptionsModel, RootOptions, ScheduleOptions, TrainingOptions

BenchmarkName = Literal[
    "seq-digits",
    "seq-mnist",
    "seq-fashion-mnist",
    "seq-cifar10",
    "seq-cifar100",
    "perm-digits",
    "perm-mnist",
    "rot-digits",
    "rot-mnist",
    "digits",
    "mnist",
    "fashion-mnist",
    "cifar10",
    "cifar100",
]
"""What `milepost.images.benchmarks` describes."""

FileName = Annotated[str, Field(min_length=1)]


class FilesOptions(OptionsModel):
    """A set of labelled images in two IDX files, compressed by gzip or not."""

    images: FileName = Field(description="File of images: bytes, [images, rows, columns] or [images, channels, rows, "
                             "columns].")  # fmt: skip
    labels: FileName = Field(description="File of labels: bytes, [images], counted from 0.")


class TaskOptions(OptionsModel):
    """One task: what is learned, and what it is measured on."""

    name: str = Field(min_length=1, description="Name of the task.")
    training_set: FilesOptions = Field(description="Images that weights are fitted to.")
    validation_set: FilesOptions | None = Field(default=None, description="Images that guide the run; null for none.")
    test_set: FilesOptions = Field(description="Images that nothing is decided by.")


class BenchmarkOptions(OptionsModel):
    """A benchmark by name: images that are divided into tasks as it is customary."""

    benchmark: BenchmarkName = Field(default="seq-digits", description="Name of the benchmark.")
    data_dir: FileName | None = Field(
        default=None,
        description="Folder of its files; null looks in $MILEPOST_DATA, in data/ and where packages put them.",
    )
    class_order: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None, description="All classes in the order in which they are learned; null for that of their numbers."
    )
    classes_per_task: int | None = Field(
        default=None, ge=1, description="Classes that a task brings; null for as many as is customary."
    )
    count: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="How many tasks, where all have the same classes; null for as many as is customary.",
    )
    validation: float = Field(
        default=0.0, ge=0, lt=1, description="Fraction of the training images that guide the run instead."
    )

    @model_validator(mode="after")
    def _divisible(self) -> "BenchmarkOptions":
        benchmark = BENCHMARKS[self.benchmark]
        classes, title = benchmark.source.classes, f"'{self.benchmark}'"
        if benchmark.division != "classes":
            unused = [key for key in ("class_order", "classes_per_task") if getattr(self, key) is not None]
            if unused:
                raise ValueError(f"every task of {title} has all classes; remove {', '.join(unused)}")
        if benchmark.division in ("classes", "whole") and self.count is not None:
            raise ValueError(f"the number of tasks of {title} follows from its classes; remove count")
        if self.class_order is not None and sorted(self.class_order) != list(range(classes)):
            raise ValueError(
                f"expected a class_order of each number from 0 to {classes - 1} once, found {list(self.class_order)}"
            )
        if self.classes_per_task is not None and classes % self.classes_per_task:
            raise ValueError(f"expected classes_per_task to divide {classes}, found {self.classes_per_task}")
        return self


class ImagesOptions(RootOptions):
    """A training run on labelled images."""

    base_precision: Literal[32, 64] = Field(  # type: ignore[assignment]
        32, description="Precision of floating-point numbers.", json_schema_extra={"unit": "bit"}
    )
    tasks: BenchmarkOptions | tuple[TaskOptions, ...] = Field(
        default_factory=BenchmarkOptions,
        description="What is learned in turn: a benchmark, or a list of tasks with their files.",
        json_schema_extra={"short_form": "benchmark"},
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _benchmark_name(cls, value: object) -> object:
        return {"benchmark": value} if isinstance(value, str) else value

    @field_validator("tasks")
    @classmethod
    def _distinct(cls, value: BenchmarkOptions | tuple[TaskOptions, ...]) -> BenchmarkOptions | tuple[TaskOptions, ...]:
        if isinstance(value, tuple):
            names = [task.name for task in value]
            if not names:
                raise ValueError("expected at least 1 task, found none")
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"expected every name once, found {', '.join(map(repr, twice))} more often")
        return value


DIVIDED_BY = ("class_order", "classes_per_task", "count")
"""Keys of a benchmark that say, with the seed, which images are of which task."""


def chosen_tasks(options: ImagesOptions) -> dict[str, Any] | None:
    """Say in plain values which tasks a run has, so that they can be made again; None where they are files."""
    tasks = options.tasks
    if not isinstance(tasks, BenchmarkOptions):
        return None
    order = None if tasks.class_order is None else list(tasks.class_order)
    divided = {name: getattr(tasks, name) for name in DIVIDED_BY} | {"class_order": order}
    return {"benchmark": tasks.benchmark, "seed": options.seed, **divided}


class ClassifierTrainingOptions(TrainingOptions):
    """The training of a classifier: plain gradient descent at one rate, as continual learning is usually measured."""

    epochs: int = Field(
        default=1, ge=0, description="Passes over each task; 0 to measure and save the model as it begins."
    )
    optimizer: OptimizerOptions = Field(default=OptimizerOptions(name="SGD", learning_rate=0.03))
    schedule: ScheduleOptions = Field(default=ScheduleOptions(name="constant", warmup_fraction=0.0))
    ema_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Decay per step of the averaged weights kept beside the raw ones; null for none.",
    )
    compile: Literal["auto", True, False] = Field(
        default=False,
        description="Whether a step is compiled; auto compiles runs of 5000 steps and more where a compiler is found.",
    )
