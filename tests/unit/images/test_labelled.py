"""Images and labels are put together only where they fit."""

import numpy as np
import pytest
import torch

from image_files import labels, numbered
from milepost.errors import DataError
from milepost.images.labelled import Labelled, joined, labelled


def made(count: int, name: str = "images", rows: int = 4, seed: int = 0) -> Labelled:
    names = (name, f"{name} of labels")
    return labelled(numbered(count, rows, seed=seed), labels(count), names, ((name, "blake3:0"),))


def test_images_get_the_dimension_of_their_single_channel() -> None:
    found = made(6)
    assert found.images.shape == (6, 1, 4, 5)
    assert found.images.dtype == torch.uint8
    assert found.shape == (1, 4, 5)
    assert found.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(found) == 6


def test_channels_are_kept() -> None:
    images = numbered(6).reshape(2, 3, 4, 5)
    assert np.array_equal(labelled(images, labels(2), ("a", "b"), ()).images.numpy(), images)


@pytest.mark.parametrize(
    ("images", "numbers", "text"),
    [
        (numbered(3), labels(2), "expected a label for each image, found 3 images and 2 labels"),
        (labels(3), labels(3), "expected images in 3 or 4 dimensions and labels in 1, found 1 and 1"),
        (numbered(3), numbered(3), "expected images in 3 or 4 dimensions and labels in 1, found 3 and 3"),
        (numbered(0), labels(0), "expected at least 1 image, found none"),
    ],
)
def test_files_that_do_not_fit_are_refused(images: np.ndarray, numbers: np.ndarray, text: str) -> None:
    with pytest.raises(DataError) as error:
        labelled(images, numbers, ("a.idx", "b.idx"), ())
    assert text in str(error.value)
    assert "the images of 'a.idx' with the labels of 'b.idx'" in str(error.value)


def test_sets_follow_one_another_and_images_keep_their_names() -> None:
    found = joined([made(3, "one"), made(2, "two", seed=1)], "the sets")
    assert [found.where(number) for number in range(5)] == [
        "one, image 0", "one, image 1", "one, image 2", "two, image 0", "two, image 1",
    ]  # fmt: skip
    assert torch.equal(found.images, torch.cat([made(3).images, made(2, seed=1).images]))
    assert found.labels.tolist() == [0, 1, 2, 0, 1]
    assert found.digests == (("one", "blake3:0"), ("two", "blake3:0"))


def test_there_is_no_image_behind_the_last() -> None:
    with pytest.raises(IndexError, match="expected an image number below 3, found 3"):
        made(3).where(3)


def test_images_of_two_shapes_are_not_joined() -> None:
    text = "could not use the sets together: .* found 1 × 4 × 5 in 'one', 1 × 6 × 5 in 'two'"
    with pytest.raises(DataError, match=text):
        joined([made(3, "one"), made(2, "two", rows=6)], "the sets")
