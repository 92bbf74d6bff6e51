"""Turn bytes into what a network takes: scaled to 0 … 1, and normalized where the benchmark's protocol does so.

Promise: the same numbers wherever it is done, in training, in evaluation and in an exported program, because all of
them read it off the facts of the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CIFAR10_MEAN, CIFAR10_DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2615)
"""Mean and standard deviation of CIFAR-10 by channel, as in the code of Buzzega et al., NeurIPS 2020."""

CIFAR100_MEAN, CIFAR100_DEVIATION = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
"""The same of CIFAR-100, as in the later versions of that code."""


@dataclass(frozen=True)
class Preprocessing:
    """Say how bytes become numbers: (value / `largest` - mean) / deviation, channel by channel.

    `mean` and `deviation` are empty where numbers stay between 0 and 1.
    """

    largest: int = 255
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def __call__(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return images [n, channels, rows, columns] as floating-point numbers."""
        scaled = images.to(dtype).div_(self.largest)
        if self.mean:
            mean = scaled.new_tensor(self.mean).view(-1, 1, 1)
            scaled = scaled.sub_(mean).div_(scaled.new_tensor(self.deviation).view(-1, 1, 1))
        return scaled

    def facts(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"largest": self.largest, "mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Preprocessing":
        """Take what `facts` returned."""
        return cls(int(facts["largest"]), tuple(facts["mean"]), tuple(facts["deviation"]))


NORMALIZED = {
    "cifar10": Preprocessing(255, CIFAR10_MEAN, CIFAR10_DEVIATION),
    "cifar100": Preprocessing(255, CIFAR100_MEAN, CIFAR100_DEVIATION),
}
"""Sources whose protocol normalizes; of others, values are only scaled."""


def preprocessing_for(source: str | None, largest: int) -> Preprocessing:
    """Return how the images of a source, or of files of one's own, are treated."""
    return NORMALIZED.get(source or "", Preprocessing(largest))
