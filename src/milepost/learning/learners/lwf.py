"""Keep the outputs of the model as it was before the task: learning without forgetting.

Source: Z. Li, D. Hoiem, Learning without Forgetting, ECCV 2016 and IEEE TPAMI 40, 2935 (2018).

    L(θ) = L_task(θ) + α L_old(teacher's outputs, outputs)      fig. 3, with α for its λ_o
    L_old = -Σ_k y'_k log ŷ'_k,  y' = softmax(logits / T)       eqs. 2-4, over the classes of the tasks before

The teacher is the model at the end of the last task. Where outputs are no logits, L_old is their distance from the
teacher's, as the objective measures it.

The loss of the task is over all classes, as other learners here have it. The authors' warm-up, in which new outputs are
trained alone at first, is left out: there is one head for all classes.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from milepost.learning.data import RECALLED, Batch, own, put, taken
from milepost.learning.learner import Learner, Setting, StepLoss
from milepost.learning.objective import Level
from milepost.learning.teachers import Teacher
from milepost.learning.weights import on_device

PREFIX = "teacher"
CLASSES = "classes"


class LwF(Learner):
    """Minimise the task's loss and the distance from the teacher's outputs on the same examples."""

    needs: ClassVar[Level] = "outputs"

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.teacher = Teacher(setting.device)
        self.known: Tensor | None = None

    def draw(self, batch: Batch, model: nn.Module) -> Batch:
        """Put the teacher's outputs into the batch."""
        if not self.teacher:
            return batch
        with torch.enable_grad():  # outputs may be derivatives; the teacher's weights take none
            outputs = self.objective.outputs(self.teacher.module(model), batch)
        recalled = {RECALLED + name: x.detach() for name, x in self.objective.recalled(outputs, batch).items()}
        if self.known is not None:
            recalled[CLASSES] = self.known
        return put(batch, recalled, PREFIX)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the task's loss and α times the distillation's."""
        recalled, batch = taken(batch, PREFIX), own(batch)
        outputs = self.objective.outputs(model, batch)
        total, parts = self.objective.loss(outputs, batch)
        if not recalled:
            return StepLoss(total, {**parts, "distillation": torch.zeros_like(total)}, {})
        classes = recalled.pop(CLASSES, None)
        distance = self.objective.distillation(outputs, batch | recalled, self.options.softmax_temp, classes)
        return StepLoss(total + self.options.alpha * distance, {**parts, "distillation": distance}, {})

    def end_task(self, task: int, model: nn.Module) -> None:
        """Make the model of this moment the teacher, of all classes so far."""
        self.teacher.remember(model)
        known = {label for done in self.setting.tasks[: task + 1] for label in done.classes}
        known.update([] if self.known is None else self.known.tolist())  # later tasks, where this one is learned again
        self.known = torch.tensor(sorted(known), device=self.setting.device) if known else None

    def state_dict(self) -> dict[str, Any]:
        """Return the teacher's state."""
        return {"teacher": self.teacher.state_dict(), "known": self.known}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state whole."""
        self.teacher.load_state_dict(state["teacher"])
        self.known = on_device(state["known"], self.setting.device)
