"""Vary images at random, a whole batch at once: cut out of a wider frame, and mirrored.

Promise: what happens to an example is a function of (seed, epoch, example) alone, or of (seed, draw, row) for one that
is replayed: every example has a key from a counter-based hash. So it does not matter who makes the batch, nor which
other examples are in it.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from milepost.run.order import example_keys

SEEN, REPLAYED = 2**32 - 4, 2**32 - 5
"""Task numbers under which keys are drawn, so that they are shared with no order of examples."""


@dataclass(frozen=True)
class Augmentation:
    """Cut images out of a black frame that is `padding` pixels wider on each side, and mirror half of them.

    As CIFAR is trained on in Buzzega et al., NeurIPS 2020: a random crop of 32 × 32 with a padding of 4, and a random
    flip from left to right.
    """

    seed: int
    padding: int = 4

    def seen(self, images: Tensor, examples: Tensor, epoch: int) -> Tensor:
        """Vary images [n, channels, rows, columns] of these examples as they are seen in an epoch."""
        return self._varied(images, example_keys(self.seed, SEEN, epoch, examples.cpu().numpy()))

    def replayed(self, images: Tensor, draw: int) -> Tensor:
        """Vary images that were drawn from a buffer, row by row."""
        return self._varied(images, example_keys(self.seed, REPLAYED, draw, np.arange(len(images))))

    def _varied(self, images: Tensor, keys: NDArray[np.uint64]) -> Tensor:
        """Read place and mirroring off each key: three parts of its 64 bits, which don't overlap."""
        _, _, rows, columns = images.shape
        choices = np.uint64(2 * self.padding + 1)
        down = torch.from_numpy(((keys >> np.uint64(40)) % choices).astype(np.int64))
        right = torch.from_numpy((((keys >> np.uint64(16)) & np.uint64(0xFFFFFF)) % choices).astype(np.int64))
        mirrored = torch.from_numpy((keys & np.uint64(1)).astype(bool))
        across = torch.arange(columns)
        across = right[:, None] + torch.where(mirrored[:, None], across.flip(0), across)
        along = down[:, None] + torch.arange(rows)
        frame = F.pad(images, (self.padding,) * 4)
        number = torch.arange(len(images), device=images.device)[:, None, None]
        along, across = along.to(images.device)[:, :, None], across.to(images.device)[:, None, :]
        # Indices on both sides of the channels put these last.
        return frame[number, :, along, across].permute(0, 3, 1, 2).contiguous()
