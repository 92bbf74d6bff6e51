"""CIFAR's binary files are read record by record."""

from pathlib import Path

import numpy as np
import pytest

from image_files import records
from milepost.errors import DataError
from milepost.images.cifar import BYTES, read_cifar, read_names

PATH = Path("data_batch_1.bin")


def test_a_record_is_a_label_and_three_channels() -> None:
    content, images = records(np.array([[7], [0], [9]]))
    found, labels = read_cifar(PATH, content, 1, 10)
    assert np.array_equal(found, images)
    assert labels.tolist() == [7, 0, 9]


def test_of_two_labels_the_fine_one_counts() -> None:
    content, images = records(np.array([[19, 99], [3, 42]]))
    found, labels = read_cifar(PATH, content, 2, 100)
    assert np.array_equal(found, images)
    assert labels.tolist() == [99, 42]


@pytest.mark.parametrize("cut", [1, BYTES])
def test_a_file_that_is_cut_off_is_refused(cut: int) -> None:
    content, _ = records(np.array([[1], [2]]))
    found = len(content) - cut
    with pytest.raises(DataError, match=f"expected records of {BYTES + 1} bytes each, found {found} bytes in all"):
        read_cifar(PATH, content[:-cut], 1, 10)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(DataError, match=r"data_batch_1\.bin.*found 0 bytes in all"):
        read_cifar(PATH, b"", 1, 10)


def test_a_label_that_is_no_class_is_refused() -> None:
    content, _ = records(np.array([[1], [10], [3]]))
    with pytest.raises(DataError, match="expected labels below 10, found 10 at image 1"):
        read_cifar(PATH, content, 1, 10)


def test_names_are_listed_one_a_line() -> None:
    assert read_names(PATH, b"apple\nlawn_mower\n\n", 2) == ("apple", "lawn_mower")
    with pytest.raises(DataError, match="expected 3 class names, found 2"):
        read_names(PATH, b"apple\nlawn_mower\n", 3)
