"""Engines: the same answers for images however they come, and clear words for images of another kind."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import tiny_classifiers
from milepost.errors import DataError
from milepost.images.engines import Engine
from milepost.images.opening import open_classifier


@pytest.fixture(scope="module", params=["checkpoint", "onnx"])
def engine(request: pytest.FixtureRequest) -> Engine:
    files = {"checkpoint": tiny_classifiers.checkpoint, "onnx": tiny_classifiers.onnx}
    return open_classifier(files[request.param](colored=True)).engine


def noise(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, 3, 9, 7), dtype=np.uint8)


def test_an_image_is_classified_alike_in_any_batch(engine: Engine) -> None:
    images = noise(5)
    whole = engine.predict(images)
    assert {name: values.shape for name, values in whole.items()} == {"logits": (5, 3), "probabilities": (5, 3)}
    np.testing.assert_allclose(whole["probabilities"].sum(1), 1.0, atol=1e-6)
    for number in range(5):
        alone = engine.predict(images[number : number + 1])
        np.testing.assert_allclose(alone["logits"][0], whole["logits"][number], atol=1e-5)


def test_no_images_give_no_answers(engine: Engine) -> None:
    assert engine.predict(noise(0))["logits"].shape == (0, 3)


def test_predicting_leaves_no_graph_and_no_images_changed(engine: Engine) -> None:
    images = noise(2)
    before = images.copy()
    found = engine.predict(images)
    np.testing.assert_array_equal(images, before)
    assert not torch.from_numpy(found["logits"]).requires_grad


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((2, 3, 7, 9), np.uint8), "uint8 of 3 × 7 × 9"),
        (np.zeros((2, 3, 9, 7), np.float32), "float32 of 3 × 9 × 7"),
        (np.zeros((3, 9, 7), np.uint8), "uint8 of 9 × 7"),
    ],
)
def test_images_of_another_kind_are_refused(engine: Engine, images: NDArray[np.uint8], found: str) -> None:
    with pytest.raises(DataError, match=rf"expected uint8 of 3 × 9 × 7 \(channels × rows × columns\), found {found}"):
        engine.predict(images)
