"""What a domain must bring to be trained: data, a loss, an evaluation, and a model that they fit.

The loop, the checkpoints and resuming are the same for every domain; a domain knows its data. Promise asked of a
domain: everything it returns is a pure function of options, files and indices, so that a run can be continued from a
few integers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from milepost.learning import DataSet, ExampleSet, Objective, Task
from milepost.learning.objective import Level
from milepost.model import Architecture, Component
from milepost.options import Objection


@dataclass(frozen=True)
class Prepared:
    """Hold everything of a run that comes from options and data.

    `facts` is what the data fixed about the model, as plain values: with the options it rebuilds the model without the
    data. `split` records which examples went where and the fingerprint of each file. `evaluate` returns the metrics of
    one set by name; `units` tells the unit of each, by the name's ending. `batch_shapes` is how many shapes the batches
    of the training set come in. `tasks` are learned in turn, and their training sets are parts of the run's; none where
    there is but one thing to learn. `matrix` names the metrics that are followed from task to task, and which of them
    are better when higher.
    """

    model: nn.Module
    facts: Mapping[str, Any]
    split: Mapping[str, Any]
    sets: Mapping[str, DataSet]
    objective: Objective
    evaluate: Callable[[nn.Module, DataSet], dict[str, float]]
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    summary: tuple[str, ...] = ()
    batch_shapes: int = 1
    tasks: tuple[Task, ...] = ()
    matrix: Mapping[str, Literal["max", "min"]] = field(default_factory=dict[str, Literal["max", "min"]])

    def stream(self) -> tuple[Task, ...]:
        """Return the tasks; a single one with all examples where there are none."""
        held_out = {name: data for name, data in self.sets.items() if name != "training"}
        return self.tasks or (Task("", torch.arange(len(self.sets["training"])), held_out),)


class Domain(Protocol):
    """Make models and data sets of one kind."""

    @property
    def name(self) -> str:
        """Name of the domain."""
        ...

    @property
    def gives(self) -> Level:
        """What the objective of its runs gives to a learner, see `milepost.learning.Objective`."""
        ...

    @property
    def deployment(self) -> Component:
        """Where its `milepost.export.deployment.Deployment` is: how its models are exported and evaluated."""
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


@runtime_checkable
class Rereading(Protocol):
    """Let a learner predict with what it remembers, when the data are gone: some domains can."""

    def without_data(
        self, options: Any, facts: Mapping[str, Any], device: torch.device
    ) -> tuple[Objective, ExampleSet]:
        """Return the objective, and a data set without examples whose `collate` is that of the run's."""
        ...


@dataclass(frozen=True)
class Ancestor:
    """Hold the model that fine-tuning starts from: its weights by name, its facts, and the digest of its file."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    digest: str
    where: str
