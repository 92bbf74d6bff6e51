"""Draw random numbers for learners, from streams whose state is a few integers.

Promise: what is drawn is a function of the seed, the purpose and what was drawn before: it is the same on every machine
and with every version of numpy, which keeps the words of its bit generators as they are (NEP 19) and whose other
methods are not used here. Streams of different purposes are independent, and a saved stream goes on exactly.
Failure: ValueError where more is to be chosen than there is; StateMismatchError for a state of another form.

The words are those of Philox4x64-10 (J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Parallel random numbers: as
easy as 1, 2, 3, SC 2011), a counter-based generator: where a stream is, is how many words were taken.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from milepost.errors import StateMismatchError

_WORDS_OF_A_BLOCK = 4
_KEY_BYTES = 16
_STATE = {"key", "words"}
# The upper 53 bits of a word are a fraction that a double holds exactly; times a number, it stays below it.
_DROPPED_BITS = 11
_UNIT = 2.0**-53


class Draws:
    """Draw whole numbers, each as likely as any other up to one part in 2⁵³ / their number; `Stateful`.

    `purpose` says what the numbers are for: streams of one seed and different purposes have nothing in common.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        digest = hashlib.blake2b(f"{seed} {purpose}".encode(), digest_size=_KEY_BYTES).digest()
        self._key = int.from_bytes(digest, "little")
        self._words = 0
        self._generator = np.random.Philox(key=self._key)

    def choice(self, population: int, count: int) -> Tensor:
        """Choose `count` different numbers below `population`, in random order: [count], int64.

        Raises ValueError where there are not so many.
        """
        if not 0 <= count <= population:
            raise ValueError(
                f"could not choose without repeating: expected at most {population} numbers, found {count}. "
                "Choose fewer, or from more."
            )
        if 2 * count > population:
            return torch.from_numpy(np.argsort(self._taken(population))[:count])
        numbers = self._numbers(count, population)
        found = dict.fromkeys(numbers.tolist())
        if len(found) == count:
            return torch.from_numpy(numbers)
        while len(found) < count:  # the first numbers of a sequence that differ are a fair choice
            found.update(dict.fromkeys(self._numbers(2 * (count - len(found)), population).tolist()))
        return torch.from_numpy(np.array(list(found)[:count], dtype=np.int64))

    def below(self, highs: ArrayLike) -> NDArray[np.int64]:
        """Draw a number from 0 … high - 1 for each of `highs` [n], each at least 1: [n].

        Every number costs one word of the stream: it makes no difference how many are drawn in a call.
        """
        limits = np.asarray(highs)
        return self._numbers(len(limits), limits)

    def permutation(self, count: int) -> Tensor:
        """Return the numbers 0 … count - 1 in random order: [count], int64."""
        return torch.from_numpy(np.argsort(self._taken(count)))

    def state_dict(self) -> dict[str, Any]:
        """Return the stream's key, and how many words were taken."""
        return {"key": self._key, "words": self._words}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the saved stream was, whatever this one's seed."""
        if set(state) != _STATE:
            raise StateMismatchError(
                f"could not restore a stream of random numbers: expected {sorted(_STATE)}, found {sorted(state)}. "
                "Continue the run with the version that wrote it."
            )
        self._key, self._words = int(state["key"]), int(state["words"])
        blocks, rest = divmod(self._words, _WORDS_OF_A_BLOCK)
        self._generator = np.random.Philox(key=self._key, counter=blocks)
        self._generator.random_raw(rest)

    def _numbers(self, count: int, highs: int | NDArray[Any]) -> NDArray[np.int64]:
        return ((self._taken(count) >> _DROPPED_BITS) * _UNIT * highs).astype(np.int64)

    def _taken(self, count: int) -> NDArray[np.uint64]:
        self._words += count
        return self._generator.random_raw(count)
