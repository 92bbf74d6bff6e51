"""The function that is exported: bytes in, what the model makes of the preprocessed images out."""

import json

import pytest
import torch
from torch import nn

import tiny_classifiers
from milepost.errors import ExportError
from milepost.images.exporting_graph import TRACED_IMAGES, ClassifierFacts, ClassifierGraph, exported_program
from milepost.images.preprocessing import Preprocessing

FACTS = ClassifierFacts.of(tiny_classifiers.COLORED)


class Mean(nn.Module):
    """Give channel means as logits, and remember what it was given."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones((), dtype=dtype))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.factor * inputs.mean((2, 3))


def noise(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, *FACTS.shape), dtype=torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_preprocessing_is_inside(dtype: torch.dtype) -> None:
    images = noise(4)
    before = images.clone()
    logits, probabilities = ClassifierGraph(Mean(dtype), FACTS.preprocessing)(images)
    mean, deviation = (torch.tensor(x, dtype=dtype).view(-1, 1, 1) for x in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25)))
    torch.testing.assert_close(logits, ((images.to(dtype) / 255 - mean) / deviation).mean((2, 3)))
    torch.testing.assert_close(probabilities, torch.softmax(logits, 1))
    assert logits.dtype == dtype
    assert torch.equal(images, before)


def test_any_number_of_images_goes_in() -> None:
    graph = ClassifierGraph(Mean(), FACTS.preprocessing).eval()
    program = exported_program(graph, FACTS.shape).module()
    for count in (1, 2, 5, TRACED_IMAGES, 40):
        images = noise(count)
        for found, expected in zip(program(images), graph(images), strict=True):
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("facts", [tiny_classifiers.DIGITS, tiny_classifiers.COLORED], ids=["digits", "colored"])
def test_facts_come_back_from_the_record(facts: dict[str, object]) -> None:
    known = ClassifierFacts.of(facts, {"benchmark": "perm-digits", "seed": 3, "class_order": [1, 0]})
    record = json.loads(json.dumps(known.to_record()))
    assert ClassifierFacts.from_record(record) == known
    assert record["class_names"] == facts["class_names"]
    assert record["input"].startswith(f"images: uint8 [images, {known.shape[0]}, ")


def test_the_record_says_what_is_done_inside() -> None:
    assert FACTS.to_record()["preprocessing"]["inside"] == "(value / largest - mean) / deviation, by channel"
    plain = ClassifierFacts((1, 8, 8), ("a", "b"), Preprocessing(16))
    assert plain.to_record()["preprocessing"] == {
        "inside": "value / largest", "largest": 16, "mean": [], "deviation": []
    }  # fmt: skip
    assert plain.to_record()["input"] == "images: uint8 [images, 1, 8, 8], from 0 to 16"


def test_a_record_may_say_nothing_about_tasks() -> None:
    assert ClassifierFacts.from_record(FACTS.to_record()).tasks is None
    record = {name: value for name, value in FACTS.to_record().items() if name != "tasks"}
    assert ClassifierFacts.from_record(record) == FACTS


@pytest.mark.parametrize("key", ["shape", "class_names", "preprocessing"])
def test_a_record_without_them_is_refused(key: str) -> None:
    record = {name: value for name, value in FACTS.to_record().items() if name != key}
    with pytest.raises(ExportError, match=f"expected its shape, class names and preprocessing.*'{key}'"):
        ClassifierFacts.from_record(record)
