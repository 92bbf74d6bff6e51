"""Decide which examples make up which step, as a pure function of (seed, task, epoch, position).

Nothing is drawn from a generator that would have to be saved: every example gets a key from a counter-based hash, and
sorting the keys gives the epoch's order. Seeking is free, and the order depends on no other thing: not on workers,
devices, library versions or what ran before.

The hash is SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA
2014), whose finaliser turns consecutive counters into independent-looking 64-bit numbers.
"""

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1

SPLIT_TASK = 2**32 - 1
"""Task number under which the split into sets is drawn, so that it shares no keys with any training order."""


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def keys(seed: int, task: int, epoch: int, count: int) -> NDArray[np.uint64]:
    """Hash (seed, task, epoch, example) for the examples 0 … count - 1; no two keys are the same."""
    return example_keys(seed, task, epoch, np.arange(count))


def example_keys(seed: int, task: int, epoch: int, examples: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hash (seed, task, epoch, example) for these examples."""
    state = np.zeros(1, dtype=np.uint64)
    for number in (seed, task, epoch):
        state = _mix(state + np.uint64(((number + 1) * GOLDEN_GAMMA) & MASK))
    return _mix(state + (examples.astype(np.uint64) + np.uint64(1)) * np.uint64(GOLDEN_GAMMA))


def permutation(seed: int, task: int, epoch: int, count: int) -> Tensor:
    """Return the order of the examples in one epoch: [count], integers.

    Any way of sorting gives the same order: the hash is one to one on 64 bits, so that no two keys are equal.
    """
    return torch.from_numpy(np.argsort(keys(seed, task, epoch, count)))


class BatchOrder:
    """Tell the examples of every step.

    A step is made of `accumulate` batches, and takes the examples that one batch of all of them would. The last step
    of an epoch is shorter where they don't divide the set: no example is left out, and no step reaches over the end.
    """

    def __init__(
        self, seed: int, examples: int, batch_size: int, task: int = 0, accumulate: int = 1, first_epoch: int = 0
    ) -> None:
        self.seed, self.task = seed, task
        self.examples = examples
        self.first_epoch = first_epoch
        self.batch_size = min(batch_size, examples)
        self.step_size = min(batch_size * accumulate, examples)
        self.steps_per_epoch = -(-examples // self.step_size)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def indices(self, step: int) -> Tensor:
        """Return the examples of a step, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._order = permutation(self.seed, self.task, self.first_epoch + epoch, self.examples)
            self._epoch = epoch
        start = position * self.step_size
        return self._order[start : start + self.step_size]

    def epoch(self, step: int) -> int:
        """Return the epoch that a step belongs to."""
        return self.first_epoch + step // self.steps_per_epoch

    def horizon(self, step: int) -> int:
        """Return the step up to which batches can be made ahead of time: there is no such limit here."""
        return sys.maxsize

    def batches(self, step: int) -> tuple[Tensor, ...]:
        """Return the examples of each batch of a step: all but the last of the same number."""
        indices = self.indices(step)
        return (indices,) if indices.shape[0] <= self.batch_size else indices.split(self.batch_size)
