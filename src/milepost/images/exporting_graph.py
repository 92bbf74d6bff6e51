"""State a classifier as one function of images as they are stored: bytes in, logits and probabilities out.

This is what every way of running a trained classifier computes: a checkpoint eagerly, a `.pt2` file as one compiled
graph, an `.onnx` file in any runtime. Preprocessing is inside, so that nobody has to repeat it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from milepost.errors import ExportError
from milepost.images.preprocessing import Preprocessing

FORMAT_ONNX = "onnx"
FORMAT_COMPILED = "aotinductor classifier"

INPUT = "images"
OUTPUTS = ("logits", "probabilities")

Results = tuple[Tensor, Tensor]
"""Logits and probabilities, each [images, classes]."""

Program = Callable[[Tensor], Results]
"""Takes images [images, channels, rows, columns], unsigned bytes."""

TRACED_IMAGES = 13
"""Images to trace with: more than 1 and equal to no other size in a classifier, so that nothing takes it for a
constant."""


class ClassifierGraph(nn.Module):
    """Compute `Results` of images as bytes, preprocessing inside."""

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.dtype = next(model.parameters()).dtype

    def forward(self, images: Tensor) -> Results:
        """Compute logits, and their softmax over all classes."""
        logits: Tensor = self.model(self.preprocessing(images, self.dtype))
        return logits, torch.softmax(logits, dim=1)


@dataclass(frozen=True)
class ClassifierFacts:
    """Hold what is fixed about a classifier: channels, rows and columns of an image, class names, preprocessing.

    `tasks` says which benchmark it learned and what that was divided by (`chosen_tasks`); None where it learned files,
    or where nobody wrote that down.
    """

    shape: tuple[int, int, int]
    names: tuple[str, ...]
    preprocessing: Preprocessing
    tasks: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, facts: Mapping[str, Any], tasks: Mapping[str, Any] | None = None) -> "ClassifierFacts":
        """Take them from the facts of a checkpoint; the tasks stand in its options."""
        channels, rows, columns = (int(size) for size in facts["shape"])
        names = tuple(str(name) for name in facts["class_names"])
        return cls((channels, rows, columns), names, Preprocessing.from_facts(facts["preprocessing"]), tasks)

    def to_record(self) -> dict[str, Any]:
        """Describe the program: what goes in, what comes out, and what is done inside."""
        channels, rows, columns = self.shape
        preprocessing = self.preprocessing
        means = "(value / largest - mean) / deviation, by channel" if preprocessing.mean else "value / largest"
        return {
            "input": f"{INPUT}: uint8 [images, {channels}, {rows}, {columns}], from 0 to {preprocessing.largest}",
            "outputs": f"{OUTPUTS[0]}, {OUTPUTS[1]}: each [images, {len(self.names)}]",
            "shape": list(self.shape),
            "class_names": list(self.names),
            "preprocessing": {"inside": means, **preprocessing.facts()},
            "tasks": None if self.tasks is None else dict(self.tasks),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "ClassifierFacts":
        """Take them from the record of an exported file. Raises ExportError where they are not there."""
        try:
            return cls.of(record, record.get("tasks"))
        except (KeyError, TypeError, ValueError) as error:
            raise ExportError(
                "could not use an exported classifier: expected its shape, class names and preprocessing in its "
                f"record, found none that fit: {error}. Export the checkpoint again."
            ) from error


def exported_program(graph: ClassifierGraph, shape: tuple[int, int, int]) -> torch.export.ExportedProgram:
    """Write the computation out for any number of images from 1 up."""
    device = next(graph.parameters()).device
    images = torch.zeros(TRACED_IMAGES, *shape, dtype=torch.uint8, device=device)
    with torch.no_grad():
        return torch.export.export(
            graph, (images,), dynamic_shapes=({0: torch.export.Dim(INPUT, min=1)},), strict=False
        )
