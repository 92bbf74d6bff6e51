"""What a domain gives to a learner: examples as they are stored, and batches as a model takes them.

An example is stored in its native type: small integers, systems of different sizes. A batch is what a model computes
with. `collate` leads from the one to the other, so that an example out of a buffer is treated like one out of the data.

Promise asked of a data set: what it returns is a pure function of the arguments, whoever calls it, in whatever order.
"""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

Batch = dict[str, Tensor]
"""What a model and a loss take: tensors by name."""

Examples = Mapping[str, Tensor | list[Tensor]]
"""n examples, by field: a tensor [n, ...] where all are of one shape, a list of n tensors where they differ."""

RECALLED = "recalled."
"""Begins the names of fields that hold what a model once put out for an example."""


class DataSet(Protocol):
    """Give batches by index."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Cut out the examples of these indices; what is varied at random is a function of seed, epoch and index.

        It may be called in a forked process, with one thread and other global random generators: what it returns must
        not depend on them.
        """
        ...

    def describe(self, indices: Tensor) -> str:
        """Name examples for a person: where they came from."""
        ...


class ExampleSet(DataSet, Protocol):
    """Give examples also as they are stored, so that some can be kept when their data set is gone."""

    def examples(self, indices: Tensor) -> Examples:
        """Return the examples of these indices in their native types, without any variation."""
        ...

    def collate(self, examples: Examples, draw: int | None = 0) -> Batch:
        """Make a batch of examples that were kept, its variation a function of seed and `draw`; none without a draw.

        Fields whose names begin with `RECALLED` come along under the same names, in the shape that the model's outputs
        for this batch have.
        """
        ...


def put(batch: Batch, other: Batch, prefix: str) -> Batch:
    """Put a second batch into a batch, its names behind `prefix` and a slash."""
    return batch | {f"{prefix}/{name}": value for name, value in other.items()}


def taken(batch: Batch, prefix: str) -> Batch:
    """Take out what `put` put in; empty where nothing was."""
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in batch.items() if name.startswith(start)}


def own(batch: Batch) -> Batch:
    """Return a batch without what `put` put in."""
    return {name: value for name, value in batch.items() if "/" not in name}
