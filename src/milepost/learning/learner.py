"""The learner contract: what happens to a model, a step and a memory when tasks come one after the other.

    begin_task      before the first step of a task
    draw            before a step: put what is to be replayed into the batch
    loss            in a step: a pure function of weights and batch, which may be compiled
    corrected       after it: change the gradients
    stepped         when the weights have moved: remember
    end_task        after the last step of a task

Promise asked of a learner: it is `Stateful`, and what it does is a function of its state and its arguments. So a run
goes on exactly where it stopped, whatever learner it has. A learner draws random numbers only from generators that are
in its state, and touches the weights only in `begin_task`, `begin_stretch` and `end_task`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from milepost.learning.data import Batch, DataSet, ExampleSet
from milepost.learning.objective import Level, Objective, Parts
from milepost.learning.tasks import Task

GradientsOf = Callable[[Batch], list[Tensor]]
"""Returns the gradients of the plain task loss on a batch, for the trainable parameters in their order."""


class StepLoss(NamedTuple):
    """Hold what a step computes: the number to minimise, its parts for the log, and outputs to be kept."""

    total: Tensor
    parts: Parts
    kept: dict[str, Tensor]


@dataclass(frozen=True)
class Setting:
    """Hold what a learner is made for; `batch_size` and `epochs` are those of the training options."""

    objective: Objective
    examples: ExampleSet
    tasks: Sequence[Task]
    seed: int
    batch_size: int
    epochs: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Stretch:
    """Plan steps on the same examples: passes over the task's own, or over those of the learner's buffer.

    `count` is how many examples the buffer will have then, and 0 for the task's own; `epochs` is None for as many as
    the training options say. Without `trains`, the examples are only shown to the learner: no weight moves.
    """

    source: Literal["task", "buffer"] = "task"
    epochs: int | None = None
    count: int = 0
    trains: bool = True


@dataclass(frozen=True)
class Taken:
    """Describe one batch of a step that was taken: which examples, the batch without what was drawn, what was kept."""

    task: int
    stretch: Stretch
    indices: Tensor
    batch: Batch
    kept: dict[str, Tensor]


class Learner(ABC):
    """Learn tasks in turn; what is not overridden does nothing.

    `needs` is what the objective must give. `joint` learners see all tasks as one.
    """

    needs: ClassVar[Level] = "loss"
    joint: ClassVar[bool] = False

    def __init__(self, options: Any, setting: Setting) -> None:
        self.options: Any = options
        self.setting = setting
        self.objective: Any = setting.objective

    def stretches(self, task: int) -> tuple[Stretch, ...]:
        """Plan a task: a pure function of options and sizes."""
        return (Stretch(),)

    def begin_task(self, task: int, model: nn.Module) -> None:  # noqa: B027 - most learners do nothing here
        """Get ready for a task; tasks count from 0."""

    def begin_stretch(self, task: int, stretch: Stretch, model: nn.Module) -> None:  # noqa: B027 - most learners do nothing here
        """Get ready for one of the task's stretches."""

    def stretch_examples(self, stretch: Stretch) -> DataSet:
        """Return the examples of a stretch: the whole training set, or the buffer's."""
        return self.setting.examples

    def draw(self, batch: Batch, model: nn.Module) -> Batch:
        """Put what is to be replayed into a batch, with `milepost.learning.data.put`."""
        return batch

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Compute what a step minimises, for a batch that `draw` returned: a pure function of tensors."""

    def corrected(self, gradients: list[Tensor], model: nn.Module, gradients_of: GradientsOf) -> list[Tensor]:
        """Return the gradients that the optimizer is to follow."""
        return gradients

    def stepped(self, taken: Taken, model: nn.Module) -> None:  # noqa: B027 - most learners do nothing here
        """Take note of a step: called once for each of its batches, when the weights have moved."""

    def end_task(self, task: int, model: nn.Module) -> None:  # noqa: B027 - most learners do nothing here
        """Keep what later tasks need of this one."""

    def predictor(self, model: nn.Module) -> nn.Module:
        """Return what predicts: the model itself, unless the learner decides otherwise."""
        return model

    def state_dict(self) -> dict[str, Any]:
        """Return all that later calls depend on, random generators included."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most learners do nothing here
        """Take over a saved state whole."""
