"""The domain of classifiers: labelled images in, logits out.

What the data fix about a model ("facts") is the shape of an image, the names of the classes, and how bytes become
numbers. With the options they rebuild the model anywhere, without the data.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from milepost.images.benchmarks import BENCHMARKS
from milepost.images.dataset import ImageSet
from milepost.images.evaluating import evaluate
from milepost.images.options import BenchmarkOptions, ImagesOptions, TaskOptions
from milepost.images.preprocessing import Preprocessing
from milepost.images.stream import Stream, make_stream
from milepost.learning import Classification, Objective
from milepost.model import Architecture, Component
from milepost.options import Objection
from milepost.run import Ancestor, Prepared

PRECISIONS = {32: torch.float32, 64: torch.float64}
"""Type of weights and inputs. Fewer bits are for products of matrices alone: architecture.training.mixed_precision."""


class ImagesDomain:
    """Prepare training on labelled images and rebuild classifiers from files."""

    name = "images"
    gives = Classification.gives
    deployment = Component("milepost.images.deployment", "DEPLOYMENT")

    def prepare(
        self,
        options: Any,
        architecture: Architecture,
        *,
        folder: Path,
        device: torch.device,
        ancestor: Ancestor | None,
        facts: Mapping[str, Any] | None,
    ) -> Prepared:
        """Read the images, divide them into tasks, and make the classifier."""
        given: ImagesOptions = options
        stream = make_stream(given, folder, PRECISIONS[given.base_precision], device)
        facts = facts or stream_facts(stream, given)
        model = self.rebuild(given, architecture, facts)
        taken = [] if ancestor is None else take_weights(model, ancestor)
        classes = int(facts["classes"])
        return Prepared(
            model=model.to(device),
            facts=facts,
            split=stream.record,
            sets={"training": stream.training, "validation": stream.validation, "test": stream.test},
            objective=Classification(),
            evaluate=lambda m, s: evaluate(m, s, classes),
            units={"accuracy": "%", "task_accuracy": "%"},
            summary=(summary(stream, model), *taken),
            tasks=stream.tasks,
            matrix={"accuracy": "max", "task_accuracy": "max"} if _partial(stream) else {"accuracy": "max"},
        )

    def metric_names(self, options: Any) -> Sequence[str]:
        """List the loss of training, what `evaluate` measures on held-out images, and its averages over tasks."""
        found = ["accuracy", "task_accuracy"] if _partly(options.tasks) else ["accuracy"]
        validation = [f"validation/{name}" for name in ("loss", *found)]
        return ["training/loss", *validation, *(f"tasks/{name}" for name in found)]

    def objections(self, options: Any) -> Iterator[Objection]:
        """Object to nothing."""
        return iter(())

    def rebuild(self, options: Any, architecture: Architecture, facts: Mapping[str, Any]) -> nn.Module:
        """Make the classifier that options and facts describe."""
        channels, rows, columns = (int(size) for size in facts["shape"])
        with _default_dtype(PRECISIONS[options.base_precision]):
            return architecture.build.load()(
                options.architecture.model, shape=(channels, rows, columns), classes=int(facts["classes"])
            )

    def without_data(self, options: Any, facts: Mapping[str, Any], device: torch.device) -> tuple[Objective, ImageSet]:
        """Return what classifiers are trained for, and a set of no images that treats those of others as it should."""
        channels, rows, columns = (int(size) for size in facts["shape"])
        return Classification(), ImageSet(
            images=torch.empty((0, channels, rows, columns), dtype=torch.uint8, device=device),
            labels=torch.empty(0, dtype=torch.long, device=device),
            shape=(channels, rows, columns),
            where=str,
            preprocessing=Preprocessing.from_facts(facts["preprocessing"]),
            dtype=PRECISIONS[options.base_precision],
        )


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors of this type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _partly(tasks: BenchmarkOptions | Sequence[TaskOptions]) -> bool:
    """Tell whether tasks may have some of the classes only, as far as options tell."""
    return not isinstance(tasks, BenchmarkOptions) or BENCHMARKS[tasks.benchmark].division == "classes"


def _partial(stream: Stream) -> bool:
    """Tell whether some task has some of the classes only, so that there are two read-outs."""
    return any(len(task.classes) < len(stream.names) for task in stream.tasks)


def stream_facts(stream: Stream, options: ImagesOptions) -> dict[str, Any]:
    """Return what the data fix about a model, as plain values."""
    tasks = options.tasks
    return {
        "shape": list(stream.training.shape),
        "classes": len(stream.names),
        "class_names": list(stream.names),
        "preprocessing": stream.preprocessing.facts(),
        "benchmark": tasks.benchmark if isinstance(tasks, BenchmarkOptions) else None,
    }


def take_weights(model: nn.Module, ancestor: Ancestor) -> list[str]:
    """Take over an ancestor's weights of the same name and shape; say which of either side are left as they are.

    A head for other classes begins anew, so that what was learned on one set of classes serves another.
    """
    own = model.state_dict()
    fitting = {n: t for n, t in ancestor.tensors.items() if n in own and own[n].shape == t.shape}
    model.load_state_dict({**own, **fitting})
    anew = [f"{n} {tuple(t.shape)}" for n, t in own.items() if n not in fitting]
    unused = [f"{n} {tuple(t.shape)}" for n, t in ancestor.tensors.items() if n not in fitting]
    lines = [f"taken from '{ancestor.where}': {len(fitting)} of {len(own)} tensors"]
    if anew:
        lines.append(f"begin at random: {', '.join(anew)}")
    if unused:
        lines.append(f"not taken: {', '.join(unused)}")
    return lines


def summary(stream: Stream, model: nn.Module) -> str:
    """Describe data and model in a line."""
    sizes = {"training": len(stream.training), "validation": len(stream.validation), "test": len(stream.test)}
    sizes["training"] = sum(len(task.training) for task in stream.tasks)
    counts = ", ".join(f"{size:,} {name}" for name, size in sizes.items() if size)
    parameters = sum(p.numel() for p in model.parameters())
    shape = " × ".join(str(size) for size in stream.training.shape)
    tasks = f"{len(stream.tasks)} task{'s' if len(stream.tasks) > 1 else ''}"
    return f"data: {counts} images of {shape} · {tasks} · {len(stream.names)} classes · {parameters:,} parameters"


DOMAIN = ImagesDomain()
