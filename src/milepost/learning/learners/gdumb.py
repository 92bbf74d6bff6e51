"""Greedy sampler and dumb learner, GDumb: train a model from the start, on a balanced buffer and nothing else.

A. Prabhu, P. H. S. Torr, P. K. Dokania, GDumb: a simple approach that questions our progress in continual learning,
ECCV 2020. The greedy sampler (algorithm 1) sees every example of a task once and keeps as many of each class; then the
dumb learner fits the weights that the run began with to what was kept.

The paper's own fit is SGD with a learning rate between 0.05 and 0.0005, cosine annealing with warm restarts, on batches
of 16: these are options of the training.
"""

import copy
from typing import Any, ClassVar

from torch import Tensor, nn

from milepost.learning.buffers import Buffer, Greedy
from milepost.learning.data import Batch, DataSet, ExampleSet
from milepost.learning.learner import Learner, Setting, StepLoss, Stretch, Taken
from milepost.learning.objective import Level


class GDumb(Learner):
    """Show each task to the sampler, then start again on what it kept."""

    needs: ClassVar[Level] = "classes"

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.buffer = Greedy(options.buffer_size, setting.seed, setting.device)
        self.beginning: dict[str, Tensor] = {}

    def stretches(self, task: int) -> tuple[Stretch, ...]:
        """Plan one look at the task's examples, and the fit to the buffer's."""
        seen = sum(len(each.training) for each in self.setting.tasks[: task + 1])
        count = min(self.options.buffer_size, seen)
        return Stretch(epochs=1, trains=False), Stretch("buffer", self.options.fitting_epochs, count)

    def begin_task(self, task: int, model: nn.Module) -> None:
        """Remember the weights that the run begins with."""
        if not self.beginning:
            self.beginning = copy.deepcopy(dict(model.state_dict()))

    def begin_stretch(self, task: int, stretch: Stretch, model: nn.Module) -> None:
        """Go back to the weights that the run began with, before they are fitted to the buffer."""
        if stretch.source == "buffer":
            model.load_state_dict(self.beginning)

    def stretch_examples(self, stretch: Stretch) -> DataSet:
        """Return the task's examples for the look, the buffer's for the fit."""
        if stretch.source == "buffer":
            return Kept(self.buffer, self.setting.examples, stretch.count)
        return super().stretch_examples(stretch)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the loss on examples of the buffer."""
        total, parts = self.objective.task_loss(model, batch)
        return StepLoss(total, parts, {})

    def stepped(self, taken: Taken, model: nn.Module) -> None:
        """Offer examples to the sampler as they are shown."""
        if taken.stretch.source == "task":
            examples = self.setting.examples.examples(taken.indices)
            self.buffer.add(examples, self.objective.labels(taken.batch))

    def state_dict(self) -> dict[str, Any]:
        """Return the buffer, and the weights that the run began with."""
        return {"buffer": self.buffer.state_dict(), "beginning": dict(self.beginning)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved buffer and first weights."""
        self.buffer.load_state_dict(state["buffer"])
        self.beginning = dict(state["beginning"])


class Kept:
    """Give the examples of a buffer as a data set; the buffer must not change meanwhile.

    Where the sampler kept fewer than were planned for, because a class had too few, some come twice in an epoch. Where
    it has more, because an early task is learned again, every epoch takes the next ones.
    """

    def __init__(self, buffer: Buffer, examples: ExampleSet, count: int) -> None:
        self.buffer, self.examples, self.count = buffer, examples, count

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Make a batch; its variation is a function of epoch and first index, which no other batch shares."""
        kept = self.buffer.get(self._places(indices, epoch))
        return self.examples.collate(kept, epoch * self.count + int(indices[0]) + 1)

    def describe(self, indices: Tensor) -> str:
        """Name examples by where they are in the buffer, if that is the same in every epoch."""
        if len(self.buffer) > self.count:
            return ", ".join(["one of the buffer"] * len(indices))
        return ", ".join(f"place {int(i) % len(self.buffer)} of the buffer" for i in indices)

    def _places(self, indices: Tensor, epoch: int) -> Tensor:
        """Return the slots of examples: all of them in turn, epoch by epoch."""
        kept = len(self.buffer)
        turned = epoch * self.count if kept > self.count else 0
        return (indices + turned) % kept
