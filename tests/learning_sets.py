"""Small problems for tests of learners: labels of made-up images, sums over made-up chains of different lengths.

Both play a domain: what a set returns is a pure function of seed, index and epoch, variation included, and examples are
kept in native types. The chains stand for everything that is no classification and comes in different sizes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from milepost.learning.data import RECALLED, Batch, Examples
from milepost.learning.learner import Setting
from milepost.learning.objective import Classification, Objective, Outputs, Parts
from milepost.learning.tasks import Task

PIXELS = 12
CLASSES = 6


def shifts(seed: int, draw: int, count: int) -> Tensor:
    """Return a small number for each of `count` examples: what stands for augmentation."""
    return ((torch.arange(count) * 7 + draw * 13 + seed) % 5).float() / 50


class Spots:
    """Give images of spots with labels: bytes [n, 12], one bright spot of two for each class."""

    def __init__(self, count: int, seed: int = 0) -> None:
        source = torch.Generator().manual_seed(seed)
        self.seed = seed
        self.labels = torch.arange(count) % CLASSES
        self.inputs = torch.randint(0, 120, (count, PIXELS), generator=source).to(torch.uint8)
        for spot in (0, 1):
            self.inputs[torch.arange(count), 2 * self.labels + spot] += 110

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Cut out examples; the variation is a function of seed, epoch and index."""
        varied = shifts(self.seed, epoch, len(self))[indices]
        return {"inputs": self.inputs[indices] / 255 + varied[:, None], "labels": self.labels[indices]}

    def describe(self, indices: Tensor) -> str:
        """Name examples by their numbers."""
        return ", ".join(f"spot {int(i)}" for i in indices)

    def examples(self, indices: Tensor) -> Examples:
        """Return bytes and labels."""
        return {"inputs": self.inputs[indices], "labels": self.labels[indices]}

    def collate(self, examples: Examples, draw: int | None = 0) -> Batch:
        """Make a batch; without a draw, without variation."""
        fields = {name: value for name, value in examples.items() if isinstance(value, Tensor)}
        inputs = fields.pop("inputs") / 255
        if draw is not None:
            inputs = inputs + shifts(self.seed, draw, len(inputs))[:, None]
        return {"inputs": inputs, **fields}


class Network(nn.Module):
    """Classify spots with one hidden layer."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(PIXELS, hidden)
        self.last = nn.Linear(hidden, CLASSES)

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the last layer sees."""
        return torch.tanh(self.first(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.features(inputs))


class Chains:
    """Give chains of 1 to 4 links and their total: ragged examples, with the squared length as the target."""

    def __init__(self, count: int, seed: int = 0) -> None:
        source = torch.Generator().manual_seed(seed)
        self.links = [torch.randn(1 + i % 4, 2, generator=source) for i in range(count)]
        self.totals = torch.stack([links.square().sum() for links in self.links])

    def __len__(self) -> int:
        return len(self.links)

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Cut out examples; nothing is varied."""
        return self.collate(self.examples(indices))

    def describe(self, indices: Tensor) -> str:
        """Name examples by their numbers."""
        return ", ".join(f"chain {int(i)}" for i in indices)

    def examples(self, indices: Tensor) -> Examples:
        """Return links, a list, and totals."""
        return {"links": [self.links[int(i)] for i in indices], "totals": self.totals[indices]}

    def collate(self, examples: Examples, draw: int | None = 0) -> Batch:
        """Put the links of all chains one after the other; `chain` tells which each belongs to."""
        fields = dict(examples)
        links = list(fields.pop("links"))
        chain = torch.repeat_interleave(torch.arange(len(links)), torch.tensor([len(each) for each in links]))
        batch = {"links": torch.cat(links), "chain": chain}
        for name, value in fields.items():
            batch[name] = value if isinstance(value, Tensor) else torch.cat(list(value))
        return batch


class Energy(nn.Module):
    """Sum a number over the links of a chain."""

    def __init__(self, hidden: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, links: Tensor, chain: Tensor, count: int) -> Tensor:
        return links.new_zeros(count).index_add(0, chain, self.layers(links)[:, 0])


class Regression(Objective):
    """Learn totals, and their derivatives with respect to the links: two outputs, of which one is ragged."""

    def count(self, batch: Batch) -> int:
        """Return the number of chains."""
        return len(batch["totals"])

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return totals [chains] and slopes [links, 2]."""
        with torch.enable_grad():
            links = batch["links"].detach().requires_grad_()
            totals = model(links, batch["chain"], self.count(batch))
            (slopes,) = torch.autograd.grad(totals.sum(), links, create_graph=True)
        return {"totals": totals, "slopes": slopes}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Parts]:
        """Return the mean square error of totals, as a part, and of slopes, which are twice the links."""
        totals = (outputs["totals"] - batch["totals"]).square().mean()
        slopes = (outputs["slopes"] - 2 * batch["links"]).square().mean()
        return totals + slopes, {"totals": totals}

    def recalled(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Keep both."""
        return {"totals": outputs["totals"], "slopes": outputs["slopes"]}

    def divided(self, kept: Mapping[str, Tensor], batch: Batch) -> Examples:
        """Cut the slopes at the ends of chains."""
        sizes = torch.bincount(batch["chain"], minlength=self.count(batch)).tolist()
        return {"totals": kept["totals"], "slopes": list(torch.split(kept["slopes"], sizes))}

    def distance(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Add up the mean squared distances of both."""
        totals = (outputs["totals"] - batch[f"{RECALLED}totals"]).square().mean()
        return totals + (outputs["slopes"] - batch[f"{RECALLED}slopes"]).square().mean()


def classification(
    count: int = 36, tasks: int = 3, *, epochs: int = 1, batch_size: int = 4, seed: int = 5
) -> tuple[Setting, Network]:
    """Return a sequence of tasks of 6 / `tasks` classes each, and a model."""
    spots = Spots(count, seed)
    groups = torch.arange(CLASSES).reshape(tasks, -1)
    sequence = [
        Task(
            f"classes {group.tolist()}",
            torch.nonzero(torch.isin(spots.labels, group))[:, 0],
            classes=tuple(group.tolist()),
        )
        for group in groups
    ]
    return _setting(Classification(), spots, sequence, seed, batch_size, epochs), _seeded(Network, seed)


def regression(
    count: int = 24, tasks: int = 2, *, epochs: int = 1, batch_size: int = 4, seed: int = 5
) -> tuple[Setting, Energy]:
    """Return a sequence of tasks with as many chains each, and a model."""
    chains = Chains(count, seed)
    parts = torch.arange(count).chunk(tasks)
    sequence = [Task(f"part {number}", part) for number, part in enumerate(parts)]
    return _setting(Regression(), chains, sequence, seed, batch_size, epochs), _seeded(Energy, seed)


def _setting(
    objective: Objective, examples: Any, tasks: Sequence[Task], seed: int, batch_size: int, epochs: int
) -> Setting:
    return Setting(objective, examples, tasks, seed, batch_size, epochs)


def _seeded(make: Any, seed: int) -> Any:
    """Make a model without a trace in the global random generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
