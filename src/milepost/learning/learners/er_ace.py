"""Experience replay with asymmetric cross entropy, ER-ACE: new classes don't push old ones away.

L. Caccia, R. Aljundi, N. Asadi, T. Tuytelaars, J. Pineau, E. Belilovsky, New insights on reducing abrupt
representation change in online continual learning, ICLR 2022. With cross entropies whose softmax is over a set of
classes alone,

    L_ace(X_bf, X_in) = L_ce(X_bf, C_old + C_curr) + L_ce(X_in, C_curr),

where C_curr are the classes in the incoming batch X_in, and C_old those seen before; X_bf is drawn from the memory. The
classes seen are told by the tasks up to the furthest that was begun; all, where tasks don't say. (The authors' code
leaves classes that are still to come in the first softmax; here they are not pushed away either.)
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milepost.learning.data import Batch, put
from milepost.learning.data import taken as taken_out
from milepost.learning.learner import Setting, StepLoss
from milepost.learning.learners.replay import Replay
from milepost.learning.objective import Level

SEEN = "seen"
"""Where a batch has the classes of the tasks so far."""


class ERACE(Replay):
    """Tell new examples apart among their own classes, and replayed ones among all that were seen."""

    needs: ClassVar[Level] = "classes"

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.task = 0

    def begin_task(self, task: int, model: nn.Module) -> None:
        """Note how far the tasks have come: the buffer has later ones', too, where an earlier one is learned again."""
        self.task = max(self.task, task)

    def draw(self, batch: Batch, model: nn.Module) -> Batch:
        """Put a minibatch beside the batch, and the classes seen."""
        known = [task.classes for task in self.setting.tasks[: self.task + 1]]
        if all(known):
            seen = torch.tensor(sorted(set().union(*known)), device=self.setting.device)
            batch = put(batch, {"classes": seen}, SEEN)
        return super().draw(batch, model)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the sum of both cross entropies."""
        batches = self.batches(batch)
        outputs = self.objective.outputs_of_each(model, batches)
        logits = [self.objective.logits(each) for each in outputs]
        labels = [self.objective.labels(each) for each in batches]
        total = _cross_entropy(logits[0], labels[0], among=labels[0])
        replayed = torch.zeros_like(total)
        if len(batches) > 1:
            replayed = _cross_entropy(logits[1], labels[1], among=taken_out(batch, SEEN).get("classes"))
        return StepLoss(total + replayed, {"replay": replayed}, {})

    def state_dict(self) -> dict[str, Any]:
        """Return the buffer and the task."""
        return {**super().state_dict(), "task": self.task}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved buffer and task."""
        super().load_state_dict(state)
        self.task = state["task"]


def _cross_entropy(logits: Tensor, labels: Tensor, among: Tensor | None) -> Tensor:
    """Return the mean cross entropy with a softmax over some classes alone, None for all of them."""
    if among is not None:
        others = torch.ones_like(logits[0], dtype=torch.bool).index_fill(0, among, False)
        logits = logits.masked_fill(others, -torch.inf)
    return F.cross_entropy(logits, labels)
