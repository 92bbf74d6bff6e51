"""Small problems that learners are checked with: made from a seed, in memory, solved in milliseconds.

`classified` has labels, and every batch of it varies. `ragged` has examples of different length, and outputs that are
derivatives of others. `unknown` is the first one, of which nothing is told but its loss.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from milepost.learning.data import RECALLED, Batch, Examples, ExampleSet
from milepost.learning.learner import Setting
from milepost.learning.objective import Classification, Level, LossOnly, Objective, Outputs, Parts
from milepost.learning.tasks import Task

WIDTH = 6
CLASSES = 6
SEED = 11
BATCH_SIZE = 4


class Labelled:
    """Give rows of bytes with labels; in a batch they are scaled and a little shifted, in each epoch otherwise."""

    def __init__(self, count: int) -> None:
        source = torch.Generator().manual_seed(SEED)
        self.labels = torch.arange(count) % CLASSES
        self.rows = torch.randint(0, 100, (count, WIDTH), generator=source).to(torch.uint8)
        self.rows[torch.arange(count), self.labels] += 150

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Cut out rows, shifted by a function of index and epoch."""
        return {"inputs": self._scaled(self.rows[indices], indices * 3 + epoch), "labels": self.labels[indices]}

    def describe(self, indices: Tensor) -> str:
        """Name rows by number."""
        return ", ".join(f"row {int(i)}" for i in indices)

    def examples(self, indices: Tensor) -> Examples:
        """Return bytes and labels."""
        return {"rows": self.rows[indices], "labels": self.labels[indices]}

    def collate(self, examples: Examples, draw: int | None = 0) -> Batch:
        """Scale and shift rows, by a function of place and draw."""
        fields = {name: value for name, value in examples.items() if isinstance(value, Tensor)}
        rows = fields.pop("rows")
        shifts = torch.zeros(len(rows), dtype=torch.long) if draw is None else torch.arange(len(rows)) * 5 + draw
        return {"inputs": self._scaled(rows, shifts), **fields}

    def _scaled(self, rows: Tensor, shifts: Tensor) -> Tensor:
        return rows / 255 + (shifts % 7)[:, None] / 70


class Network(nn.Module):
    """Classify rows, with one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(WIDTH, 8)
        self.classifier = nn.Linear(8, CLASSES)

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the last layer sees."""
        return torch.tanh(self.hidden(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        return self.classifier(self.features(inputs))


class Ragged:
    """Give lists of one to three points, and a number for each list: the sum of the points' squares."""

    def __init__(self, count: int) -> None:
        source = torch.Generator().manual_seed(SEED)
        self.points = [torch.randn(1 + i % 3, 2, generator=source) for i in range(count)]
        self.sums = torch.stack([points.square().sum() for points in self.points])

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Cut out lists."""
        return self.collate(self.examples(indices))

    def describe(self, indices: Tensor) -> str:
        """Name lists by number."""
        return ", ".join(f"list {int(i)}" for i in indices)

    def examples(self, indices: Tensor) -> Examples:
        """Return points, a list of tensors, and sums."""
        return {"points": [self.points[int(i)] for i in indices], "sums": self.sums[indices]}

    def collate(self, examples: Examples, draw: int | None = 0) -> Batch:
        """Put the points of all lists one behind the other; `owner` tells which list each belongs to."""
        sizes = torch.tensor([len(points) for points in examples["points"]])
        joined = {name: v if isinstance(v, Tensor) else torch.cat(list(v)) for name, v in examples.items()}
        return {**joined, "owner": torch.repeat_interleave(torch.arange(len(sizes)), sizes)}


class Adder(nn.Module):
    """Sum a number over the points of each list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, points: Tensor, owner: Tensor, count: int) -> Tensor:
        """Return the sum for each of `count` lists."""
        return points.new_zeros(count).index_add(0, owner, self.layers(points)[:, 0])


class SumsAndSlopes(Objective):
    """Learn sums, and their derivatives by the points."""

    def count(self, batch: Batch) -> int:
        """Return the number of lists."""
        return len(batch["sums"])

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return sums [lists] and slopes [points, 2]."""
        with torch.enable_grad():
            points = batch["points"].detach().requires_grad_()
            sums = model(points, batch["owner"], self.count(batch))
            (slopes,) = torch.autograd.grad(sums.sum(), points, create_graph=True)
        return {"sums": sums, "slopes": slopes}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Parts]:
        """Return the mean square errors of both, and that of the sums as a part."""
        sums = (outputs["sums"] - batch["sums"]).square().mean()
        return sums + (outputs["slopes"] - 2 * batch["points"]).square().mean(), {"sums": sums}

    def recalled(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Keep both."""
        return dict(outputs)

    def divided(self, kept: Mapping[str, Tensor], batch: Batch) -> Examples:
        """Cut the slopes where a list ends."""
        sizes = torch.bincount(batch["owner"], minlength=self.count(batch)).tolist()
        return {"sums": kept["sums"], "slopes": list(torch.split(kept["slopes"], sizes))}

    def distance(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Add the mean squared distances of both."""
        return sum(
            ((outputs[name] - batch[RECALLED + name]).square().mean() for name in ("sums", "slopes")),
            outputs["sums"].new_zeros(()),
        )


@dataclass(frozen=True)
class Problem:
    """Hold a sequence of tasks and a model for it: `model` makes one, always with the same weights."""

    name: str
    gives: Level
    setting: Setting
    model: Callable[[], nn.Module]

    @property
    def even(self) -> bool:
        """Whether all examples are of one size."""
        return all(isinstance(field, Tensor) for field in self.setting.examples.examples(torch.tensor([0])).values())

    def for_learner(self, *, joint: bool) -> Setting:
        """Return the setting; a joint learner gets one task that holds all."""
        if not joint:
            return self.setting
        given = self.setting
        whole = Task("joint", torch.arange(len(given.examples)))
        return Setting(given.objective, given.examples, (whole,), given.seed, given.batch_size, given.epochs)


def classified(count: int = 18, tasks: int = 3) -> Problem:
    """Return tasks of other classes each."""
    examples = Labelled(count)
    groups = torch.arange(min(count, CLASSES)).chunk(tasks)
    stream = [
        Task(f"classes {group.tolist()}", torch.nonzero(torch.isin(examples.labels, group))[:, 0], {}, _plain(group))
        for group in groups
    ]
    return Problem("classified", "classes", _setting(Classification(), examples, stream), _same_each_time(Network))


def ragged(count: int = 12, tasks: int = 2) -> Problem:
    """Return tasks of other examples each."""
    stream = [Task(f"part {i}", part) for i, part in enumerate(torch.arange(count).chunk(tasks))]
    return Problem("ragged", "outputs", _setting(SumsAndSlopes(), Ragged(count), stream), _same_each_time(Adder))


def unknown(count: int = 12, tasks: int = 2) -> Problem:
    """Return tasks of which nothing but a loss is known."""
    known = classified(count, tasks).setting
    stream = [Task(task.name, task.training) for task in known.tasks]
    objective = LossOnly(Classification().task_loss)
    return Problem("unknown", "loss", _setting(objective, known.examples, stream), _same_each_time(Network))


def _plain(labels: Tensor) -> tuple[int, ...]:
    return tuple(int(label) for label in labels)


def _setting(objective: Objective, examples: ExampleSet, stream: list[Task]) -> Setting:
    return Setting(objective, examples, tuple(stream), SEED, BATCH_SIZE, epochs=1)


def _same_each_time(kind: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return kind()

    return make
