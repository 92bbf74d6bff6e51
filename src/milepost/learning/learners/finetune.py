"""Learn each task as it comes, and keep nothing: plain training, the lower bound that learners are compared with."""

from torch import nn

from milepost.learning.data import Batch
from milepost.learning.learner import Learner, StepLoss


class Finetune(Learner):
    """Minimise the loss of the task at hand."""

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the task's loss."""
        total, parts = self.objective.task_loss(model, batch)
        return StepLoss(total, parts, {})
