"""Keep labelled images resident as bytes, and cut batches out of them.

A set shows its images as they are, or through maps: then it has them once for every map, under numbers of their own,
and stores nothing for that but the maps. Promise: `batch` is a pure function of seed, epoch and indices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from milepost.images.augmentation import Augmentation
from milepost.images.labelled import Labelled
from milepost.images.preprocessing import Preprocessing
from milepost.learning import Batch, Examples
from milepost.learning.data import RECALLED


@dataclass(frozen=True)
class ImageSet:
    """Give batches of images: `inputs` [n, channels, rows, columns] and `labels` [n], integers.

    `images` are bytes [images, channels, rows, columns]; with `maps` [maps, rows · columns], which need a single
    channel, they are [images, rows · columns + 1], with a blank place behind the last. Example number
    m · images + i is image i seen through map m.
    """

    images: Tensor
    labels: Tensor
    shape: tuple[int, int, int]
    where: Callable[[int], str]
    preprocessing: Preprocessing
    dtype: torch.dtype
    maps: Tensor | None = None
    augmentation: Augmentation | None = None

    @classmethod
    def of(
        cls,
        images: Labelled,
        preprocessing: Preprocessing,
        dtype: torch.dtype,
        device: torch.device,
        maps: Tensor | None = None,
        augmentation: Augmentation | None = None,
    ) -> "ImageSet":
        """Put images on a device, ready to be seen through maps where there are any."""
        stored = images.images
        if maps is not None:
            stored, maps = torch.nn.functional.pad(stored.flatten(1), (0, 1)), maps.to(device)
        labels = images.labels.to(device)
        return cls(stored.to(device), labels, images.shape, images.where, preprocessing, dtype, maps, augmentation)

    def __len__(self) -> int:
        return len(self.labels) * (1 if self.maps is None else len(self.maps))

    @property
    def largest(self) -> int:
        """The largest value that the images' bytes can have."""
        return self.preprocessing.largest

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Cut out the examples of these indices, varied as they are seen in this epoch."""
        if self.augmentation is None:
            return self.plain_batch(indices)
        images, labels = self._cut(indices)
        varied = self.augmentation.seen(images, indices, epoch)
        return {"inputs": self.preprocessing(varied, self.dtype), "labels": labels}

    def plain_batch(self, indices: Tensor) -> Batch:
        """Cut out the examples of these indices as they are."""
        task = self._task(indices)
        if self.maps is None or task is None:
            images, labels = self._cut(indices)
            return {"inputs": self.preprocessing(images, self.dtype), "labels": labels}
        # Rows of floating-point numbers are rearranged in half the time that rows of bytes are.
        numbers = indices.to(self.labels.device) % len(self.labels)
        whole = self.preprocessing(self.images.index_select(0, numbers), self.dtype)
        inputs = whole.index_select(1, self.maps[task]).view(-1, *self.shape)
        return {"inputs": inputs, "labels": self.labels.index_select(0, numbers)}

    def examples(self, indices: Tensor) -> Examples:
        """Return images as bytes, as they are seen through their maps, and labels."""
        images, labels = self._cut(indices)
        return {"images": images, "labels": labels}

    def collate(self, examples: Examples, draw: int | None = 0) -> Batch:
        """Make a batch of examples that were kept. Raises TypeError when their images are not of one shape."""
        images, labels = examples["images"], examples["labels"]
        if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
            raise TypeError("could not make a batch: expected images and labels as tensors, found lists of them.")
        if self.augmentation is not None and draw is not None:
            images = self.augmentation.replayed(images, draw)
        recalled = {name: v for name, v in examples.items() if name.startswith(RECALLED) and isinstance(v, Tensor)}
        return {"inputs": self.preprocessing(images, self.dtype), "labels": labels, **recalled}

    def describe(self, indices: Tensor) -> str:
        """Name files and the numbers of images in them."""
        return "; ".join(self._name(int(index)) for index in indices)

    def _name(self, index: int) -> str:
        number, image = divmod(index, len(self.labels))
        return self.where(image) + ("" if self.maps is None else f", as task {number} shows it")

    def _cut(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        indices = indices.to(self.labels.device)
        if self.maps is None:
            return self.images.index_select(0, indices), self.labels.index_select(0, indices)
        task, numbers = self._task(indices), indices % len(self.labels)
        if task is None:
            places = self.maps.index_select(0, indices // len(self.labels))
        else:
            places = self.maps[task].expand(len(indices), -1)
        images = self.images.index_select(0, numbers).gather(1, places)
        return images.view(-1, *self.shape), self.labels.index_select(0, numbers)

    def _task(self, indices: Tensor) -> int | None:
        """Return the map that all examples are seen through; None for different ones, or none."""
        if self.maps is None or not len(indices):
            return None
        lowest, highest = (int(bound) // len(self.labels) for bound in torch.aminmax(indices))
        return lowest if lowest == highest else None


@dataclass(frozen=True)
class ImagePart:
    """Show some examples of a set, under numbers from 0, without any variation.

    `numbers` [n] are theirs in the set; `classes` are the labels that they can have.
    """

    whole: ImageSet
    numbers: Tensor
    classes: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, indices: Tensor, epoch: int = 0) -> Batch:
        """Cut out the examples of these indices, the same in every epoch."""
        return self.whole.plain_batch(self.numbers[indices])

    def examples(self, indices: Tensor) -> Examples:
        """Return images as bytes, and labels."""
        return self.whole.examples(self.numbers[indices])

    def collate(self, examples: Examples, draw: int | None = 0) -> Batch:
        """Make a batch of examples that were kept."""
        return self.whole.collate(examples, draw)

    def describe(self, indices: Tensor) -> str:
        """Name files and the numbers of images in them."""
        return self.whole.describe(self.numbers[indices])
