"""Write a classifier as an ONNX program, and run such a program with onnxruntime.

The program computes in single precision whatever the weights were trained in: runtimes know convolutions of no other.
Its metadata name the classes and the preprocessing that is inside; nothing in it names where it was made.

Needs the packages onnx, onnxscript and onnxruntime: the extra `onnx`. Raises MissingDependencyError without them.
"""

import copy
import importlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import milepost
from milepost.errors import ExportError, MissingDependencyError
from milepost.export.onnxfile import add_metadata
from milepost.images.exporting_graph import INPUT, OUTPUTS, ClassifierFacts, ClassifierGraph, exported_program

if TYPE_CHECKING:
    import onnx_ir

OPSET = 18
"""Version of the operators: the one that torch's translations are written for. onnxruntime knows it since 1.14."""

TO_WRITE = ("onnx", "onnxscript", "onnxruntime")
TO_RUN = ("onnxruntime",)

SILENT = 3
"""Level from which onnxruntime writes to standard error: what it can't run it raises as well."""


def check_installed(packages: tuple[str, ...], intention: str) -> None:
    """Raise MissingDependencyError, with the intention, where a package is not installed."""
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingDependencyError(
            f"could not {intention}: expected the packages {', '.join(packages)}, found no {', '.join(absent)}. "
            "Install them with `pip install milepost[onnx]`."
        )


def write_onnx(graph: ClassifierGraph, facts: ClassifierFacts, path: Path) -> None:
    """Write the program of a classifier.

    Raises MissingDependencyError, and ExportError where the model has an operator that ONNX has no words for.
    """
    check_installed(TO_WRITE, f"export to '{path.name}'")
    single = copy.deepcopy(graph).cpu().float()
    single.dtype = torch.float32
    with _own_noise_left_out():
        exported = exported_program(single, facts.shape)
        try:
            written = torch.onnx.export(
                exported, dynamo=True, dynamic_shapes=({0: INPUT},), input_names=[INPUT], output_names=list(OUTPUTS),
                opset_version=OPSET, external_data=False, verbose=False,
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(
                f"could not export to '{path.name}': torch found no ONNX form of this model: {error}. "
                "Export a .pt2 file."
            ) from error
    if written is None:
        raise ExportError(f"could not export to '{path.name}': torch wrote nothing. Export a .pt2 file.")
    _without_traces(written.model)
    written.save(str(path), external_data=False)
    add_metadata(path, "class_names", json.dumps(facts.names, ensure_ascii=False))
    add_metadata(path, "preprocessing", json.dumps(facts.to_record()["preprocessing"], sort_keys=True))


@contextmanager
def _own_noise_left_out() -> Iterator[None]:
    """Leave out what torch's exporter says about itself: of a deprecated class of its own, and of torchvision."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        registration.setLevel(before)


def _without_traces(model: "onnx_ir.Model") -> None:
    """Take out what torch writes of each operator's source: lines and folders of this machine."""
    model.producer_name, model.producer_version = "milepost", milepost.__version__
    described: list[Any] = [model, model.graph, *model.graph.inputs, *model.graph.initializers.values()]
    graphs = [model.graph, *(function.graph for function in model.functions.values())]
    described += model.functions.values()
    for graph in graphs:
        for node in graph.all_nodes():
            described += [node, *node.outputs]
    for one in described:
        one.doc_string = None
        one.metadata_props.clear()


def load_onnx(path: Path | str) -> Any:
    """Return a function from images, bytes [images, channels, rows, columns], to `OUTPUTS` by name, as arrays.

    It runs on the processor, with as many threads as torch has now. Raises MissingDependencyError without
    onnxruntime, ExportError where it can't run the program.
    """
    check_installed(TO_RUN, f"run '{path}'")
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = SILENT
    settings.intra_op_num_threads, settings.inter_op_num_threads = torch.get_num_threads(), 1
    try:
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except _errors() as error:
        raise ExportError(
            f"could not run '{path}': onnxruntime {onnxruntime.__version__} can't load it: {error}. "
            "Export the checkpoint again on this machine."
        ) from error

    def run(images: NDArray[np.uint8]) -> dict[str, NDArray[np.floating]]:
        found: Any = session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(images)})
        return dict(zip(OUTPUTS, found, strict=True))

    return run


def _errors() -> tuple[type[Exception], ...]:
    """List what onnxruntime raises: classes without a common base but Exception."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (RuntimeError, ValueError, *own)
