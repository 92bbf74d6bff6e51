"""Measure a classifier on a set: cross entropy and accuracy, read out over all classes and over the task's own.

Class-incremental and task-incremental learning are one run with two read-outs (G. M. van de Ven, A. S. Tolias, Three
scenarios for continual learning, arXiv:1904.07734): the second is told which task an example is of, and chooses among
that task's classes. Promise: the model is left as it was; memory does not grow with the set.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milepost.images.dataset import ImagePart, ImageSet
from milepost.learning import DataSet

VALUES_AT_ONCE = {"cpu": 1 << 18}
"""Input values in a batch by kind of device: on a processor, as many as its second cache holds (1 MB)."""

MANY_VALUES, MOST_AT_ONCE = 1 << 21, 1024
"""Input values in a batch elsewhere: enough to keep a device busy, little memory. Images in a batch, however small."""


def evaluate(model: nn.Module, data: DataSet, classes: int) -> dict[str, float]:
    """Return loss, `accuracy` in %, and `task_accuracy` in % where the set is of a task with some classes only.

    Images are measured as they are, those of a training set too.
    """
    own = data.classes if isinstance(data, ImagePart) else ()
    few = torch.tensor(own, device=_device(model)) if 0 < len(own) < classes else None
    loss, right, right_in_task = 0.0, 0, 0
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            for indices in _chunks(data, _device(model)):
                batch = data.plain_batch(indices) if isinstance(data, ImageSet) else data.batch(indices)
                logits, labels = model(batch["inputs"]), batch["labels"]
                loss += float(F.cross_entropy(logits, labels, reduction="sum"))
                right += _right(logits.argmax(1), labels)
                if few is not None:
                    right_in_task += _right(few[logits.index_select(1, few).argmax(1)], labels)
    finally:
        for module, training in modes:
            module.training = training
    count = max(1, len(data))
    metrics = {"loss": loss / count, "accuracy": 100.0 * right / count}
    return metrics if few is None else metrics | {"task_accuracy": 100.0 * right_in_task / count}


def _right(predicted: Tensor, labels: Tensor) -> int:
    return int((predicted == labels).sum())


def _device(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in [*model.parameters(), *model.buffers()]), torch.device("cpu"))


def _chunks(data: DataSet, device: torch.device) -> tuple[Tensor, ...]:
    whole = data.whole if isinstance(data, ImagePart) else data
    channels, rows, columns = whole.shape if isinstance(whole, ImageSet) else (1, 1, 1)
    values = VALUES_AT_ONCE.get(device.type, MANY_VALUES)
    size = min(MOST_AT_ONCE, max(1, values // (channels * rows * columns)))
    return torch.arange(len(data)).split(size)
