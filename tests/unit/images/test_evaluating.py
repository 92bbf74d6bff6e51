"""Accuracies agree with what they are by definition, in chunks of any size."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from image_files import numbered
from milepost.images import evaluating
from milepost.images.dataset import ImagePart, ImageSet
from milepost.images.evaluating import evaluate
from milepost.images.labelled import labelled
from milepost.images.preprocessing import Preprocessing

COUNT, CLASSES = 60, 6


class Guessing(nn.Module):
    """Give fixed logits to each image, and tell whether it was in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(20, CLASSES)
        self.modes: list[bool] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.modes.append(self.training)
        assert not torch.is_grad_enabled()
        return self.layer(inputs.flatten(1))


def whole() -> ImageSet:
    numbers = torch.randint(0, CLASSES, (COUNT,)).numpy()
    return ImageSet.of(
        labelled(numbered(COUNT), numbers, ("a", "b"), ()), Preprocessing(), torch.float32, torch.device("cpu")
    )


@pytest.mark.parametrize("at_once", [1, 7, 60, 4096])
def test_read_outs_are_over_all_classes_and_over_the_task_s_own(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "MOST_AT_ONCE", at_once)
    data, model, own = whole(), Guessing(), (4, 1)
    numbers = torch.nonzero(torch.isin(data.labels, torch.tensor(own))).flatten()
    found = evaluate(model, ImagePart(data, numbers, own), CLASSES)
    batch = data.batch(numbers)
    with torch.no_grad():
        logits = model.layer(batch["inputs"].flatten(1))
    assert found["loss"] == pytest.approx(float(F.cross_entropy(logits, batch["labels"])), rel=1e-5)
    right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, batch["labels"], strict=True))
    in_task = sum(
        (4 if row[4] > row[1] else 1) == int(label) for row, label in zip(logits, batch["labels"], strict=True)
    )
    assert found["accuracy"] == pytest.approx(100 * right / len(numbers))
    assert found["task_accuracy"] == pytest.approx(100 * in_task / len(numbers))
    assert set(found) == {"loss", "accuracy", "task_accuracy"}


def test_a_set_of_all_classes_has_one_read_out() -> None:
    data, model = whole(), Guessing()
    part = ImagePart(data, torch.arange(COUNT), tuple(range(CLASSES)))
    assert set(evaluate(model, part, CLASSES)) == {"loss", "accuracy"}
    assert evaluate(model, part, CLASSES) == evaluate(model, data, CLASSES)


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(training: bool) -> None:
    model = Guessing().train(training)
    evaluate(model, whole(), CLASSES)
    assert model.modes == [False]
    assert model.training is training
    model.layer.train(not training)
    with pytest.raises(RuntimeError):
        evaluate(model, ImagePart(whole(), torch.arange(3), (0, CLASSES)), CLASSES + 2)
    assert (model.training, model.layer.training) == (training, not training)


def test_big_images_come_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "VALUES_AT_ONCE", {"cpu": 10 * 20})
    model = Guessing()
    evaluate(model, whole(), CLASSES)
    assert len(model.modes) == 6
