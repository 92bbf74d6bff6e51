"""Read the images of a benchmark or of the files that the options name.

Promise: a pure function of the files' contents; scikit-learn's digits come with that package and are divided into
training and test images once and for all. Failure: DataError naming the file, or MissingDependencyError.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from milepost.errors import DataError, MissingDependencyError
from milepost.images.benchmarks import Source
from milepost.images.cifar import read_cifar, read_names
from milepost.images.finding import find_files
from milepost.images.idx import content_digest, read_bytes, read_idx
from milepost.images.labelled import Labelled, Origin, joined, labelled
from milepost.images.options import FilesOptions

LARGEST_DIGIT = 16
"""Brightest value of scikit-learn's digits, which counts dark places in blocks of 4 × 4: E. Alpaydin, C. Kaynak,
Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998."""

DIGITS_FILE = "datasets/data/digits.csv.gz"
"""Where the package scikit-learn has its digits."""

TEST_EVERY = 5
"""One in so many of scikit-learn's digits, class by class, is a test image."""


@dataclass(frozen=True)
class Published:
    """Hold the two halves of a published set, and its class names."""

    training: Labelled
    test: Labelled
    names: tuple[str, ...]


def read_source(source: Source, data_dir: str | None, folder: Path) -> Published:
    """Return a published set; its files are looked for as `milepost.images.finding` says."""
    if source.name == "digits":
        return Published(*_digits(), source.names)
    files = find_files(source.name, data_dir, folder)
    if source.name == "cifar10":
        training, test = joined([_cifar(file, 1, 10) for file in files[:-1]], "the files"), _cifar(files[-1], 1, 10)
        return Published(training, test, source.names)
    if source.name == "cifar100":
        names = read_names(files[2], read_bytes(files[2]), source.classes)
        return Published(_cifar(files[0], 2, 100), _cifar(files[1], 2, 100), names)
    training, test = read_files(files[0], files[1]), read_files(files[2], files[3])
    for each in (training, test):
        check_labels(each, source.classes)
    return Published(training, test, source.names)


def read_files(images: Path, labels: Path) -> Labelled:
    """Return the images and labels of two IDX files."""
    contents = [read_bytes(path) for path in (images, labels)]
    digests = tuple(
        (path.name, content_digest(content)) for path, content in zip((images, labels), contents, strict=True)
    )
    return labelled(
        read_idx(images, contents[0]), read_idx(labels, contents[1]), (images.name, labels.name), digests
    )  # fmt: skip


def read_named(options: FilesOptions, folder: Path, key: str) -> Labelled:
    """Return the images that the options name; paths begin at `folder`, `key` is the option's.

    Raises DataError when there is no such file.
    """
    paths = [folder / Path(name).expanduser() for name in (options.images, options.labels)]
    for path, field in zip(paths, ("images", "labels"), strict=True):
        if not path.is_file():
            raise DataError(
                f"could not read '{key}.{field}': expected a file, found none at '{path}'. "
                "Correct the options; paths are relative to the working directory."
            )
    return read_files(*paths)


def check_labels(images: Labelled, classes: int) -> None:
    """Raise DataError where a label is none of the classes."""
    wrong = torch.nonzero(images.labels >= classes)
    if len(wrong):
        index = int(wrong[0])
        raise DataError(
            f"could not use {images.where(index)}: expected a label below {classes}, found "
            f"{int(images.labels[index])}. Name the files of the set that the options name."
        )


def class_names(sets: Sequence[Labelled]) -> tuple[str, ...]:
    """Name classes by their numbers, as many as there are labels."""
    return tuple(str(number) for number in range(1 + max(int(each.labels.max()) for each in sets)))


def _cifar(path: Path, labels: int, classes: int) -> Labelled:
    content = read_bytes(path)
    images, found = read_cifar(path, content, labels, classes)
    return labelled(images, found, (path.name, path.name), ((path.name, content_digest(content)),))


def _digits() -> tuple[Labelled, Labelled]:
    """Divide scikit-learn's digits: the fifth, tenth, … image of each class is a test image."""
    rows = _packaged_digits()
    pixels, numbers = rows[:, :-1].reshape(-1, 1, 8, 8).astype(np.uint8), rows[:, -1].astype(np.int64)
    digests = (("digits", content_digest(pixels.tobytes() + numbers.tobytes())),)
    rank = np.zeros(len(numbers), dtype=np.int64)
    for digit in range(10):
        rank[numbers == digit] = np.arange(np.count_nonzero(numbers == digit))
    held_out = rank % TEST_EVERY == TEST_EVERY - 1
    training, test = (_part(pixels, numbers, np.flatnonzero(part), digests) for part in (~held_out, held_out))
    return training, test


def _packaged_digits() -> np.ndarray:
    """Return scikit-learn's digits [1797, 64 values and a label].

    Their file is read where the package has it, because importing the package takes longer than training on them.
    """
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "could not read scikit-learn's digits: expected the package scikit-learn, found none. Install it with "
            "`pip install scikit-learn`."
        )
    path = Path(spec.submodule_search_locations[0]) / DIGITS_FILE
    if not path.is_file():
        raise DataError(
            f"could not read scikit-learn's digits: expected the file '{path}', found none. Install the package "
            "scikit-learn again."
        )
    return np.loadtxt(read_bytes(path).decode("ascii").splitlines(), delimiter=",")


def _part(
    pixels: np.ndarray, numbers: np.ndarray, chosen: np.ndarray, digests: tuple[tuple[str, str], ...]
) -> Labelled:
    """Cut out some digits, each with an origin of its own: they don't follow one another in the package."""
    return Labelled(
        torch.from_numpy(pixels[chosen]),
        torch.from_numpy(numbers[chosen]),
        tuple(Origin("scikit-learn's digits", 1, int(number)) for number in chosen),
        digests,
        LARGEST_DIGIT,
    )
