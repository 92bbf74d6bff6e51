"""What is learned, as far as a learner must know it: outputs of a model, their loss, and how far two of them differ.

A domain says it once, and every learner that its objective is rich enough for works on it:

    "loss"      the loss of a batch, and no more
    "outputs"   also what the model puts out, so that it can be kept and compared with
    "classes"   outputs are logits, and every example has a label

Promise asked of an objective: every method is a pure function of its arguments.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from milepost.learning.data import RECALLED, Batch, Examples

Outputs = Mapping[str, Tensor]
Parts = dict[str, Tensor]
Level = Literal["loss", "outputs", "classes"]
LEVELS: tuple[Level, ...] = ("loss", "outputs", "classes")
"""From the least that an objective can give to the most; each includes those before it."""


class Objective(ABC):
    """Say what a model is trained for, in terms of its outputs."""

    gives: Level = "outputs"

    @abstractmethod
    def count(self, batch: Batch) -> int | Tensor:
        """Return the number of examples in a batch, without those that only fill it up.

        Where it depends on what is in the tensors it is a scalar tensor, so that a step can be compiled.
        """

    @abstractmethod
    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return what the model puts out for a batch, differentiable with respect to its weights."""

    @abstractmethod
    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Parts]:
        """Compare outputs with targets: the mean over the batch's examples, and its parts, each a scalar."""

    def losses(self, outputs: Outputs, batch: Batch) -> Tensor | None:
        """Return the loss of each example: [examples], their mean is `loss`, and each depends on its example alone.

        None where it takes a batch of one example to tell.
        """
        return None

    @abstractmethod
    def recalled(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Choose the outputs worth keeping, named by field without `RECALLED`, as the batch has them."""

    @abstractmethod
    def divided(self, kept: Mapping[str, Tensor], batch: Batch) -> Examples:
        """Cut what `recalled` chose into examples: fields without `RECALLED`, one entry for each example."""

    @abstractmethod
    def distance(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return how far outputs are from those that the batch recalls: a scalar, the mean over its examples.

        It is the mean squared distance, or what the loss of the domain has in its place.
        """

    def distillation(self, outputs: Outputs, batch: Batch, temperature: float, classes: Tensor | None = None) -> Tensor:
        """Return how far the outputs are from a teacher's, which the batch recalls: a scalar.

        `classes` [n] are those that the teacher knows; None for all. Where outputs are no logits, classes and
        temperature mean nothing, and this is their distance.
        """
        return self.distance(outputs, batch)

    def task_loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Parts]:
        """Return the loss of a model on a batch, and its parts."""
        return self.loss(self.outputs(model, batch), batch)

    def outputs_of_each(self, model: nn.Module, batches: Sequence[Batch], *, as_one: bool = False) -> list[Outputs]:
        """Return what the model puts out for each of several batches.

        An objective may save time by one pass over all of them, where the model treats every example by itself. With
        `as_one` it should also where it does not, so that batch normalization takes its statistics from all.
        """
        return [self.outputs(model, batch) for batch in batches]


class LossOnly(Objective):
    """Wrap a loss of which nothing else is known: enough for learners that keep no outputs."""

    gives: Level = "loss"

    def __init__(self, loss: Callable[[nn.Module, Batch], tuple[Tensor, Parts]]) -> None:
        self._loss = loss

    def count(self, batch: Batch) -> int:
        """Return the length of the batch's first tensor."""
        return len(next(iter(batch.values())))

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the parts of the loss by name, and the loss under the empty name."""
        total, parts = self._loss(model, batch)
        return {**parts, "": total}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Parts]:
        """Return the loss."""
        return outputs[""], {name: part for name, part in outputs.items() if name}

    def recalled(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Refuse: TypeError."""
        raise TypeError("could not compare outputs: expected an objective that knows them, found a loss alone.")

    divided = distance = cast("Callable[..., Tensor]", recalled)  # type: ignore[assignment]


class Classification(Objective):
    """Learn labels: logits = model(inputs), softmax cross entropy.

    A batch has `inputs` and `labels` [examples]; outputs are `logits` [examples, classes].
    """

    gives: Level = "classes"

    def count(self, batch: Batch) -> int:
        """Return the number of labels."""
        return len(batch["labels"])

    def outputs(self, model: nn.Module, batch: Batch) -> Outputs:
        """Return the logits."""
        return {"logits": model(batch["inputs"])}

    def outputs_of_each(self, model: nn.Module, batches: Sequence[Batch], *, as_one: bool = False) -> list[Outputs]:
        """Return the logits for each batch, by one pass where that is the same or asked for."""
        if len(batches) == 1 or not (as_one or _treats_examples_apart(model)):
            return super().outputs_of_each(model, batches)
        logits = model(torch.cat([batch["inputs"] for batch in batches]))
        return [{"logits": part} for part in logits.split_with_sizes([self.count(batch) for batch in batches])]

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Parts]:
        """Return the mean cross entropy; it has no parts."""
        return F.cross_entropy(outputs["logits"], batch["labels"]), {}

    def losses(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the cross entropy of each example."""
        return F.cross_entropy(outputs["logits"], batch["labels"], reduction="none")

    def recalled(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Keep the logits."""
        return {"logits": outputs["logits"]}

    def divided(self, kept: Mapping[str, Tensor], batch: Batch) -> Examples:
        """Return the logits: a row is an example's."""
        return dict(kept)

    def distance(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Return the mean squared difference of logits (DER, eq. 5: Buzzega et al., NeurIPS 2020)."""
        return F.mse_loss(outputs["logits"], batch[f"{RECALLED}logits"])

    def distillation(self, outputs: Outputs, batch: Batch, temperature: float, classes: Tensor | None = None) -> Tensor:
        """Return the cross entropy of softened probabilities (G. Hinton, O. Vinyals, J. Dean, arXiv:1503.02531)."""
        logits, teacher = outputs["logits"], batch[f"{RECALLED}logits"]
        if classes is not None:
            logits, teacher = logits.index_select(1, classes), teacher.index_select(1, classes)
        teacher = torch.softmax(teacher / temperature, dim=1)
        return -(teacher * torch.log_softmax(logits / temperature, dim=1)).sum(1).mean()

    def logits(self, outputs: Outputs) -> Tensor:
        """Return the logits [examples, classes]."""
        return outputs["logits"]

    def labels(self, batch: Batch) -> Tensor:
        """Return the labels [examples]."""
        return batch["labels"]

    def features(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return what the model's last layer sees: [examples, features]. The model must have a `features` method."""
        features: Tensor = model.features(batch["inputs"])  # type: ignore[operator]
        return features


def _treats_examples_apart(model: nn.Module) -> bool:
    """Tell whether a model has no batch normalization at work, of torch or derived from it."""
    return not any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
