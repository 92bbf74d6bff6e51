"""Run a trained classifier on images as they are stored, whatever its file is.

An engine takes bytes and returns logits and probabilities as arrays; who calls it needs neither torch nor a runtime.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from milepost.errors import DataError
from milepost.images.exporting_graph import OUTPUTS, ClassifierFacts, Program

Values = dict[str, NDArray[np.floating]]
"""`logits` and `probabilities`, each [images, classes]."""


class Engine(Protocol):
    """Classify images."""

    @property
    def facts(self) -> ClassifierFacts:
        """What is fixed about the classifier."""
        ...

    def predict(self, images: NDArray[np.uint8]) -> Values:
        """Classify images [images, channels, rows, columns]. Raises DataError where they have another shape."""
        ...


class TorchEngine:
    """Run a program of tensors on a device: a model as it was trained, or a compiled graph."""

    def __init__(self, program: Program, facts: ClassifierFacts, device: torch.device) -> None:
        self._program = program
        self.facts = facts
        self.device = device

    def predict(self, images: NDArray[np.uint8]) -> Values:
        """Classify images; without any there is nothing to run."""
        check_images(images, self.facts)
        if not len(images):
            return nothing(self.facts)
        with torch.inference_mode():
            results = self._program(torch.from_numpy(np.ascontiguousarray(images)).to(self.device))
        return {name: x.cpu().numpy() for name, x in zip(OUTPUTS, results, strict=True)}


class OnnxEngine:
    """Run an ONNX program with onnxruntime, on the processor."""

    def __init__(self, path: Path, facts: ClassifierFacts) -> None:
        from milepost.images.onnx_program import load_onnx

        self._run: Callable[[NDArray[np.uint8]], Values] = load_onnx(path)
        self.facts = facts

    def predict(self, images: NDArray[np.uint8]) -> Values:
        """Classify images."""
        check_images(images, self.facts)
        return self._run(images) if len(images) else nothing(self.facts)


def check_images(images: NDArray[np.uint8], facts: ClassifierFacts) -> None:
    """Raise DataError where images are not bytes of the classifier's shape."""
    if images.dtype != np.uint8 or images.shape[1:] != facts.shape:
        wanted, found = (" × ".join(str(size) for size in shape) for shape in (facts.shape, images.shape[1:]))
        raise DataError(
            f"could not classify images: expected uint8 of {wanted} (channels × rows × columns), found {images.dtype} "
            f"of {found}. Give images as those that the classifier was trained on."
        )


def nothing(facts: ClassifierFacts) -> Values:
    """Return the results of no images."""
    return {name: np.zeros((0, len(facts.names)), dtype=np.float32) for name in OUTPUTS}
