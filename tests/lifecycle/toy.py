"""A toy domain for tests of the run: regression on made-up numbers, a step in a millisecond.

It is found the way every architecture is, by an entry point: `installed(folder)` puts one on this process's path, and
`environment(folder)` on that of a process that a test starts. Dropout makes steps depend on torch's global generator.
Options spoil it on purpose: `poisoned` examples have NaN for a target, `failing` ones raise when they are read, and
`seconds` is how long a batch takes.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import Field
from torch import Tensor, nn

from lifecycle.toy_model import Toy
from milepost.learning import Examples, LossOnly, Task
from milepost.model import Architecture, Component, find_architecture
from milepost.options import Objection, OptionsModel, RootOptions, TrainingOptions, load_options
from milepost.run import Ancestor, Prepared, Reporter, Request, Result, train

INPUTS = 5
ENTRY_POINT = "[milepost.architectures]\ntoy = lifecycle.toy:ARCHITECTURE\n"


class ToyOptions(RootOptions):
    """A training run on made-up numbers."""

    examples: int = Field(default=22, ge=1, description="size of the training set")
    validation_examples: int = Field(default=6, ge=0, description="size of the validation set")
    data_seed: int = Field(default=1, ge=0, description="what the data are made from")
    poisoned: list[int] = Field(default=[], description="training examples whose target is NaN")
    failing: list[int] = Field(default=[], description="training examples that can't be read")
    seconds: float = Field(default=0.0, ge=0, description="time that a batch takes to make")
    parts: int = Field(default=1, ge=1, description="tasks that the training set is divided into")


class ToyModelOptions(OptionsModel):
    """The network."""

    features: int = Field(default=8, ge=1, description="width")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="share of features left out")


class ToyData:
    """Give batches of made-up examples, a pure function of their numbers."""

    def __init__(self, x: Tensor, y: Tensor, failing: Sequence[int] = (), seconds: float = 0.0) -> None:
        self.x, self.y = x, y
        self.failing, self.seconds = set(failing), seconds

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor, epoch: int = 0) -> dict[str, Tensor]:
        """Cut out the examples of these indices."""
        if self.seconds:
            time.sleep(self.seconds)
        wrong = self.failing & set(indices.tolist())
        if wrong:
            raise OSError(f"example {min(wrong)} is not there")
        return {"x": self.x[indices], "y": self.y[indices]}

    def examples(self, indices: Tensor) -> Examples:
        """Give examples as they are."""
        return {"x": self.x[indices], "y": self.y[indices]}

    def collate(self, examples: Examples, draw: int | None = 0) -> dict[str, Tensor]:
        """Make a batch of examples that were kept."""
        return {name: torch.as_tensor(value) for name, value in examples.items()}

    def describe(self, indices: Tensor) -> str:
        """Name examples by their numbers."""
        return ", ".join(f"toy {int(i)}" for i in indices)


class ToyDomain:
    """Prepare training on made-up numbers; nothing here reads a file."""

    name = "toy"
    gives = LossOnly.gives

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
        """Make the data from their seed, and the model."""
        source = torch.Generator().manual_seed(options.data_seed)
        count = options.examples + options.validation_examples
        x = torch.randn(count, INPUTS, generator=source)
        y = torch.sin(x.sum(-1)) + 0.1 * torch.randn(count, generator=source)
        y[options.poisoned] = torch.nan
        facts = facts or {"inputs": INPUTS}
        model = self.rebuild(options, architecture, facts)
        if ancestor is not None:
            model.load_state_dict(dict(ancestor.tensors))
        cut = options.examples
        training = ToyData(x[:cut].to(device), y[:cut].to(device), options.failing, options.seconds)
        tasks = divided(training, options.parts)
        return Prepared(
            model=model.to(device),
            facts=facts,
            split={"examples": cut, "total": float(x.sum())},
            sets={"training": training, "validation": ToyData(x[cut:].to(device), y[cut:].to(device))},
            objective=LossOnly(loss),
            evaluate=evaluate,
            summary=(f"data: {cut} made-up examples",),
            tasks=tasks,
            matrix={"loss": "min"} if tasks else {},
        )

    def metric_names(self, options: Any) -> Sequence[str]:
        """List loss and error, and what several tasks have besides."""
        several = ["training/replay", "tasks/loss"] if options.parts > 1 else []
        return ["training/loss", "training/error", "validation/loss", *several]

    def objections(self, options: Any) -> Sequence[Objection]:
        """Object to nothing."""
        return []

    def rebuild(self, options: Any, architecture: Architecture, facts: Mapping[str, Any]) -> Toy:
        """Make the network."""
        given = options.architecture.model
        return architecture.build.load()(facts["inputs"], given.features, given.dropout)


def divided(data: ToyData, parts: int) -> tuple[Task, ...]:
    """Divide a training set into tasks, each measured on the examples that it is trained on; none for one part."""
    if parts == 1:
        return ()
    numbers = torch.arange(len(data)).chunk(parts)
    return tuple(
        Task(f"part {i}", mine, {"validation": ToyData(data.x[mine], data.y[mine])}) for i, mine in enumerate(numbers)
    )


def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the mean square error, and the mean error."""
    errors = model(batch["x"]) - batch["y"]
    return errors.square().mean(), {"error": errors.abs().mean()}


def evaluate(model: nn.Module, data: Any) -> dict[str, float]:
    """Return the mean square error over a set, without dropout; the model is left as it was."""
    training = model.training
    model.eval()
    with torch.no_grad():
        value = (model(data.x) - data.y).square().mean()
    model.train(training)
    return {"loss": float(value)}


DOMAIN = ToyDomain()
ARCHITECTURE = Architecture(
    name="toy",
    version=1,
    summary="a network for tests",
    root_options=ToyOptions,
    domain=Component("lifecycle.toy", "DOMAIN"),
    build=Component("lifecycle.toy_model", "build"),
    model_options=ToyModelOptions,
    training_options=TrainingOptions,
)


def install(folder: Path) -> list[str]:
    """Write the entry point of an installed package into a folder; return what to put on the path."""
    info = folder / "milepost_toy-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: milepost-toy\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(ENTRY_POINT, encoding="utf-8")
    return [str(folder), str(Path(__file__).parents[1])]


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Let this process find the toy, as long as the context lasts."""
    before = list(sys.path)
    sys.path[:0] = install(folder)
    try:
        yield
    finally:
        sys.path[:] = before


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with the toy on Python's path, for a process of its own."""
    path = [*install(folder), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}


def write_options(
    folder: Path,
    *,
    model: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    checkpoints: Mapping[str, Any] | None = None,
    **root: Any,
) -> Path:
    """Write `options.yaml`: 3 epochs of 6 steps of 4 examples, saved every second step; return its path."""
    options = {
        "seed": 3,
        "device": "cpu",
        "architecture": {
            "name": "toy",
            "model": dict(model or {}),
            "training": {"epochs": 3, "batch_size": 4, "ema_decay": 0.9, "compile": False, **(training or {})},
        },
        "checkpoints": {"every_steps": 2, "durability": "process", **(checkpoints or {})},
        **root,
    }
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
    return path


def request(folder: Path, *overrides: str, restart: str | None = "auto", overwrite: bool = False) -> Request:
    """Ask for what `folder/options.yaml` describes; call it where the toy is `installed`."""
    architecture = find_architecture("toy")
    options = load_options(folder / "options.yaml", architecture.options_class(), overrides)
    return Request(options, architecture, folder, folder / "model.ckpt", restart, overwrite)


class Log(Reporter):
    """Keep what is said instead of printing it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def run(folder: Path, *overrides: str, reporter: Reporter | None = None, restart: str | None = "auto") -> Result:
    """Train in this process."""
    return train(request(folder, *overrides, restart=restart), reporter or Log())
