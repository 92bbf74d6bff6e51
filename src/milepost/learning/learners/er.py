"""Experience replay: learn from new and kept examples alike.

M. Riemer et al., Learning to learn without forgetting by maximizing transfer and minimizing interference, ICLR 2019
(reservoir sampling); A. Chaudhry et al., On tiny episodic memories in continual learning, arXiv:1902.10486
(algorithm 1). With the stream's batch B_n and the minibatch B_M drawn from the memory, a step minimises the mean loss
over the examples of both. The part `replay` of the loss is the mean over B_M.
"""

import torch
from torch import nn

from milepost.learning.data import Batch
from milepost.learning.learner import StepLoss
from milepost.learning.learners.replay import Replay, mean_of_all


class ExperienceReplay(Replay):
    """Minimise the mean loss of the batch and the replayed examples together; parts are those of the batch."""

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the mean over all examples, new and replayed."""
        batches = self.batches(batch)
        outputs = self.objective.outputs_of_each(model, batches, as_one=True)
        found = [self.objective.loss(o, b) for o, b in zip(outputs, batches, strict=True)]
        counts = [self.objective.count(each) for each in batches]
        total = mean_of_all([loss for loss, _ in found], counts)
        replayed = found[1][0] if len(found) > 1 else torch.zeros_like(total)
        return StepLoss(total, {**found[0][1], "replay": replayed}, {})
