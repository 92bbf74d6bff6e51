"""The global random number generators of a training process.

Promise: after `load_state_dict(state_dict())`, Python's, numpy's and torch's global generators (CPU and each
CUDA device) draw the same numbers again.
Failure: UnsavableError for a numpy generator other than its default; StateMismatchError for a state of
another form.
"""

import random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from milepost.errors import StateMismatchError, UnsavableError

_NUMPY_GENERATOR = "MT19937"
_KEYS = {"python", "numpy", "torch", "cuda"}


class RandomState:
    """Save and restore all global generators.

    CUDA states are restored device by device; `unrestored` names those for which this machine has no device.
    """

    def __init__(self) -> None:
        self.unrestored: tuple[str, ...] = ()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every generator."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "python": _python_state(),
            "numpy": _numpy_state(),
            "torch": torch.get_rng_state(),
            "cuda": list(cuda),
        }

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Set every generator; nothing is changed if a part is missing or of another generator."""
        if set(state_dict) != _KEYS:
            raise StateMismatchError(
                f"could not restore the random state: expected {sorted(_KEYS)}, found {sorted(state_dict)}. "
                "Use a checkpoint of a training run."
            )
        python, numpy, cuda = state_dict["python"], state_dict["numpy"], state_dict["cuda"]
        if numpy["generator"] != _NUMPY_GENERATOR:
            raise StateMismatchError(
                f"could not restore numpy's random state: expected {_NUMPY_GENERATOR}, "
                f"found {numpy['generator']}. Use a checkpoint of a training run."
            )
        words = tuple(int(word) for word in _unsigned(python["words"]))
        random.setstate((python["version"], words, python["gauss_next"]))
        key = _unsigned(numpy["key"])
        legacy = (_NUMPY_GENERATOR, key, numpy["position"], numpy["has_gauss"], numpy["gauss"])
        np.random.set_state(legacy)  # noqa: NPY002 - the global generator is what is restored
        torch.set_rng_state(state_dict["torch"])
        present = torch.cuda.device_count() if torch.cuda.is_available() else 0
        for index, state in enumerate(cuda[:present]):
            torch.cuda.set_rng_state(state, index)
        self.unrestored = tuple(f"cuda:{index}" for index in range(present, len(cuda)))


def _python_state() -> dict[str, Any]:
    version, words, gauss_next = random.getstate()
    return {"version": version, "words": _words(np.array(words, dtype=np.uint32)), "gauss_next": gauss_next}


def _words(unsigned: NDArray[np.uint32]) -> torch.Tensor:
    """Hold words of 32 bits in the type of that size that every operation of torch knows."""
    return torch.tensor(unsigned.view(np.int32))


def _unsigned(words: torch.Tensor) -> NDArray[np.uint32]:
    return words.numpy().astype(np.uint32)


def _numpy_state() -> dict[str, Any]:
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - the global one
    if state["bit_generator"] != _NUMPY_GENERATOR:
        raise UnsavableError(
            f"could not save numpy's random state: expected {_NUMPY_GENERATOR}, "
            f"found {state['bit_generator']}. Leave numpy's global generator as it is, "
            "or save your own as a component."
        )
    inner = state["state"]
    return {
        "generator": _NUMPY_GENERATOR,
        "key": _words(np.asarray(inner["key"], dtype=np.uint32)),
        "position": int(inner["pos"]),
        "has_gauss": int(state["has_gauss"]),
        "gauss": float(state["gauss"]),
    }
