"""Keep a few examples of every task that ended, and follow no gradient that would raise the loss on them.

What A-GEM and GEM share: the memory, and how gradients are laid out as vectors. The memory is a ring buffer with a part
for each task (D. Lopez-Paz, M. Ranzato, NeurIPS 2017). A task that ends again has its part filled anew.
"""

from typing import Any

import torch
from torch import Tensor, nn

from milepost.errors import OptionsError
from milepost.learning.buffers import Ring
from milepost.learning.data import Batch, Examples
from milepost.learning.draws import Draws
from milepost.learning.learner import Learner, Setting, StepLoss


class Episodic(Learner):
    """Minimise the loss of the task at hand; keep examples of each task when it ends, as many of each.

    Raises OptionsError where the buffer has no place for one example of each task.
    """

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.share: int = options.buffer_size // len(setting.tasks)
        if not self.share:
            raise OptionsError(
                f"could not share out the buffer of '{options.name}': expected a buffer_size of at least "
                f"{len(setting.tasks)}, one example for each task, found {options.buffer_size}. Give a larger one."
            )
        self.buffer = Ring(options.buffer_size, setting.seed, setting.device, parts=len(setting.tasks))
        self.choices = Draws(setting.seed, f"{options.name} memory")
        self.drawn = 0

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the task's loss."""
        total, parts = self.objective.task_loss(model, batch)
        return StepLoss(total, parts, {})

    def end_task(self, task: int, model: nn.Module) -> None:
        """Keep examples of the task, chosen at random, in the place of those kept of it before."""
        training = self.setting.tasks[task].training
        chosen = self.choices.choice(len(training), min(self.share, len(training)))
        examples = self.setting.examples.examples(training[chosen.to(training.device)])
        before = self.buffer.slots_of(task)
        if len(before):  # as many as now: both are its share
            self.buffer.update(before, examples)
        else:
            self.buffer.add(examples, torch.full_like(chosen, task))

    def collated(self, examples: Examples) -> Batch:
        """Make a batch of kept examples, varied anew each time."""
        self.drawn += 1
        return self.setting.examples.collate(examples, self.drawn)

    def state_dict(self) -> dict[str, Any]:
        """Return the memory, and how often it was drawn from."""
        return {"buffer": self.buffer.state_dict(), "choices": self.choices.state_dict(), "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved memory."""
        self.buffer.load_state_dict(state["buffer"])
        self.choices.load_state_dict(state["choices"])
        self.drawn = state["drawn"]


def laid_out(vector: Tensor, like: list[Tensor]) -> list[Tensor]:
    """Cut a vector into tensors of these shapes."""
    parts = vector.split([each.numel() for each in like])
    return [part.reshape(each.shape) for part, each in zip(parts, like, strict=True)]
