"""Export a checkpoint's classifier to `.onnx` or `.pt2` (AOTInductor), compared before it is published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from milepost.errors import ExportError
from milepost.export import Exporter, ExportRecord, Parity, Tolerance, check_target, export_model
from milepost.export.devices import usable_device
from milepost.export.origin import record_of
from milepost.images.engines import OnnxEngine, TorchEngine, Values
from milepost.images.exporting_graph import (
    FORMAT_COMPILED,
    FORMAT_ONNX,
    OUTPUTS,
    ClassifierFacts,
    ClassifierGraph,
)
from milepost.images.options import ImagesOptions, chosen_tasks
from milepost.run import open_trained

RELATIVE = {torch.float32: 1e-4, torch.float64: 1e-10}
"""Deviation allowed, as a fraction of the largest entry: the roundings of sums over thousands of products, which every
program takes in another order. An untrained ResNet-18 deviates by a tenth of that."""

ABSOLUTE = {torch.float32: 1e-5, torch.float64: 1e-11}
"""Deviation allowed where everything is small, in units of a logit or a probability."""

BATCHES = (1, 2, 7, 64)
"""Numbers of images that programs are compared on; they are traced with another."""

SEED = 20


@dataclass(frozen=True)
class OnnxExporter:
    """Write ONNX programs, in single precision, for any runtime."""

    graph: ClassifierGraph
    facts: ClassifierFacts

    suffix = ".onnx"

    def write(self, path: Path, record: ExportRecord) -> None:
        """Write the program. The record is added by the caller."""
        from milepost.images.onnx_program import write_onnx

        write_onnx(self.graph, self.facts, path)

    def load(self, path: Path) -> Callable[[Any], Values]:
        """Load the file with onnxruntime."""
        return OnnxEngine(path, self.facts).predict


@dataclass(frozen=True)
class CompiledExporter:
    """Compile ahead of time, for the kind of device that the classifier is on."""

    graph: ClassifierGraph
    facts: ClassifierFacts

    suffix = ".pt2"

    def write(self, path: Path, record: ExportRecord) -> None:
        """Compile the classifier. The record is added by the caller."""
        from milepost.images.compiled import compile_classifier

        compile_classifier(self.graph, self.facts, path)

    def load(self, path: Path) -> Callable[[Any], Values]:
        """Load the file with torch's loader."""
        from milepost.images.compiled import load_compiled

        device = next(self.graph.parameters()).device
        return TorchEngine(load_compiled(path), self.facts, device).predict


def parity_samples(facts: ClassifierFacts) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return named batches of images that no model has seen: noise, and images that are all black or all bright."""
    random = np.random.default_rng(SEED)
    brightest = facts.preprocessing.largest
    noise = [random.integers(0, brightest + 1, (count, *facts.shape), dtype=np.uint8) for count in BATCHES]
    samples = [(f"{len(images)} image{'s' if len(images) > 1 else ''} of noise", images) for images in noise]
    uniform = np.stack([np.full(facts.shape, value, dtype=np.uint8) for value in (0, brightest, brightest // 2)])
    return [*samples, ("3 images of one brightness each", uniform)]


def tolerances(dtype: torch.dtype) -> dict[str, Tolerance]:
    """State what may differ, by the precision of the program."""
    return {name: Tolerance(ABSOLUTE[dtype], RELATIVE[dtype], "") for name in OUTPUTS}


def export_classifier(
    checkpoint: Path,
    target: Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> ExportRecord:
    """Export a checkpoint; the format is told by the target's suffix, `.onnx` or `.pt2`.

    `metadata` replaces what the checkpoint holds. Raises what `open_trained` and `export_model` raise, ExportError for
    another suffix, and MissingDependencyError.
    """
    if target.suffix not in (".onnx", ".pt2"):
        raise ExportError(
            f"could not export to '{target}': expected a name ending in .onnx or .pt2, found '{target.suffix}'. Choose "
            ".onnx for any runtime, .pt2 to run it with torch on this kind of machine."
        )
    single = target.suffix == ".onnx"
    trained = open_trained(checkpoint, device=usable_device("cpu" if single else device, checkpoint))
    check_target(target, trained.record.run_id, overwrite=overwrite)
    facts = ClassifierFacts.of(trained.facts, chosen_tasks(cast(ImagesOptions, trained.options)))
    graph = ClassifierGraph(trained.predictor, facts.preprocessing).eval()
    exporter: Exporter
    if single:
        exporter, kind, place = OnnxExporter(graph, facts), FORMAT_ONNX, "cpu"
    else:
        exporter, kind, place = CompiledExporter(graph, facts), FORMAT_COMPILED, torch.device(device).type
    reference = TorchEngine(graph, facts, next(graph.parameters()).device).predict
    parity = Parity(parity_samples(facts), reference, tolerances(torch.float32 if single else graph.dtype))
    about = dict(trained.metadata if metadata is None else metadata)
    record = record_of(trained, kind, facts.to_record(), about, place)
    return export_model(target, exporter, record, parity, overwrite=overwrite)
