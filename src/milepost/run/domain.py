"""What a domain must bring to be trained: data, a loss, an evaluation, and a model that they fit.

The loop, the checkpoints and resuming are the same for every domain; a domain knows its data. Promise asked of a
domain: everything it returns is a pure function of options, files and indices, so that a run can be continued from a
few integers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from milepost.model import Architecture
from milepost.options import Objection
from milepost.run.step import Batch, LossFunction


class DataSet(Protocol):
    """Give batches by index."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """Cut out the examples of these indices: a pure function.

        It may be called in a forked process, with one thread and other global random generators: what it returns must
        not depend on them.
        """
        ...

    def describe(self, indices: Tensor) -> str:
        """Name examples for a person: where they came from."""
        ...


@dataclass(frozen=True)
class Prepared:
    """Hold everything of a run that comes from options and data.

    `facts` is what the data fixed about the model, as plain values: with the options it rebuilds the model without the
    data. `split` records which examples went where and the fingerprint of each file. `evaluate` returns the metrics of
    one set by name; `units` tells the unit of each, by the name's ending. `batch_shapes` is how many shapes the batches
    of the training set come in.
    """

    model: nn.Module
    facts: Mapping[str, Any]
    split: Mapping[str, Any]
    sets: Mapping[str, DataSet]
    loss: LossFunction
    evaluate: Callable[[nn.Module, DataSet], dict[str, float]]
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    summary: tuple[str, ...] = ()
    batch_shapes: int = 1


class Domain(Protocol):
    """Make models and data sets of one kind."""

    @property
    def name(self) -> str:
        """Name of the domain."""
        ...

    def prepare(
        self,
        options: Any,
        architecture: Architecture,
        *,
        folder: Path,
        device: torch.device,
        ancestor: "Ancestor | None",
        facts: Mapping[str, Any] | None,
    ) -> Prepared:
        """Read the data, split it, and make the model; weights come from the ancestor where there is one.

        `facts` are those of the run that is continued: they are taken as they are, so that nothing is fitted again.

        Raises DataError naming file, frame and field.
        """
        ...

    def metric_names(self, options: Any) -> Sequence[str]:
        """List the metrics that an evaluation of such a run gives, as `training/loss`, told by the options alone."""
        ...

    def objections(self, options: Any) -> Iterable[Objection]:
        """Say which options no run of this domain can have, though others may; nothing for most domains."""
        ...

    def rebuild(self, options: Any, architecture: Architecture, facts: Mapping[str, Any]) -> nn.Module:
        """Make the model that options and facts describe, for saved weights to be loaded into."""
        ...


@dataclass(frozen=True)
class Ancestor:
    """Hold the model that fine-tuning starts from: its weights by name, its facts, and the digest of its file."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    digest: str
    where: str
