"""Hold labelled images as they are published, and check that they fit together.

Promise: images are unsigned bytes [n, channels, rows, columns] in one block of memory, which nothing changes. Needs
arrays that a reader has taken from a file. Failure: DataError naming both files of a set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from milepost.errors import DataError


@dataclass(frozen=True)
class Origin:
    """Name where some images come from: a file, the number of images, and the number that the first has there."""

    file: str
    count: int
    first: int = 0


@dataclass(frozen=True)
class Labelled:
    """Hold images [n, channels, rows, columns] of bytes from 0 to `largest`, and their labels [n] from 0.

    `digests` are names and digests of the files, in the order in which they were read.
    """

    images: Tensor
    labels: Tensor
    origins: tuple[Origin, ...]
    digests: tuple[tuple[str, str], ...] = ()
    largest: int = 255

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of an image."""
        channels, rows, columns = self.images.shape[1:]
        return channels, rows, columns

    def where(self, index: int) -> str:
        """Name an image for a person."""
        for origin in self.origins:
            if index < origin.count:
                return f"{origin.file}, image {origin.first + index}"
            index -= origin.count
        raise IndexError(f"expected an image number below {len(self)}, found {index + len(self)}")


def labelled(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    names: tuple[str, str],
    digests: tuple[tuple[str, str], ...],
) -> Labelled:
    """Put images [n, (channels,) rows, columns] and labels [n] together; `names` are those of their files.

    Raises DataError when they are not of the same number, or not of these dimensions.
    """
    where = f"could not use the images of '{names[0]}' with the labels of '{names[1]}'"
    if images.ndim not in (3, 4) or labels.ndim != 1:
        raise DataError(
            f"{where}: expected images in 3 or 4 dimensions and labels in 1, found {images.ndim} and {labels.ndim}. "
            "Name a file of images and a file of labels."
        )
    if len(images) != len(labels):
        raise DataError(
            f"{where}: expected a label for each image, found {len(images)} images and {len(labels)} labels. "
            "Name the two files of one set."
        )
    if not images.size:
        raise DataError(f"{where}: expected at least 1 image, found none. Name another file.")
    whole = images if images.ndim == 4 else images[:, None]
    # Copied: what was read from a file belongs to the file's bytes and can't be written to.
    return Labelled(
        torch.from_numpy(whole.copy()),
        torch.from_numpy(labels.astype(np.int64)),
        (Origin(names[0], len(labels)),),
        digests,
    )


def joined(sets: Sequence[Labelled], what: str) -> Labelled:
    """Put sets one behind the other; raises DataError naming `what` when their images are not of one shape."""
    shapes = {each.shape: each.origins[0].file for each in sets}
    if len(shapes) > 1:
        listed = ", ".join(f"{' × '.join(map(str, shape))} in '{file}'" for shape, file in shapes.items())
        raise DataError(
            f"could not use {what} together: expected images of one shape (channels × rows × columns), found {listed}. "
            "Bring them to one shape."
        )
    return Labelled(
        torch.cat([each.images for each in sets]),
        torch.cat([each.labels for each in sets]),
        tuple(origin for each in sets for origin in each.origins),
        tuple(digest for each in sets for digest in each.digests),
        max(each.largest for each in sets),
    )
