"""Bytes become the numbers that the protocols say."""

import pytest
import torch

from milepost.images.preprocessing import NORMALIZED, Preprocessing, preprocessing_for


def test_values_are_scaled_to_one() -> None:
    images = torch.tensor([0, 1, 128, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    expected = torch.tensor([0, 1 / 255, 128 / 255, 1]).view(1, 1, 2, 2)
    assert torch.equal(Preprocessing()(images), expected)
    assert torch.equal(images.flatten(), torch.tensor([0, 1, 128, 255], dtype=torch.uint8))
    assert float(Preprocessing(16)(torch.full((1, 1, 1, 1), 16, dtype=torch.uint8))) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_channels_are_normalized_each_by_itself(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    found = Preprocessing(255, (0.5, 0.25, 0.125), (0.5, 2.0, 4.0))(images, dtype)
    assert found.dtype == dtype
    for channel, (mean, deviation) in enumerate([(0.5, 0.5), (0.25, 2.0), (0.125, 4.0)]):
        expected = (images[:, channel].to(dtype) / 255 - mean) / deviation
        torch.testing.assert_close(found[:, channel], expected, rtol=1e-6, atol=1e-7)


def test_facts_say_all_of_it() -> None:
    for preprocessing in (Preprocessing(16), *NORMALIZED.values()):
        assert Preprocessing.from_facts(preprocessing.facts()) == preprocessing


def test_cifar_is_normalized_and_nothing_else() -> None:
    assert preprocessing_for("cifar10", 255).mean == (0.4914, 0.4822, 0.4465)
    assert preprocessing_for("mnist", 255) == Preprocessing(255)
    assert preprocessing_for("digits", 16) == Preprocessing(16)
    assert preprocessing_for(None, 255) == Preprocessing(255)
