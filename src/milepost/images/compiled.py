"""Compile a classifier ahead of time into a `.pt2` package, and run such a package.

What compiling needs and promises is in `milepost.export.compiling`.
"""

from pathlib import Path
from typing import cast

from torch import Tensor

from milepost.export.compiling import compile_package, load_package
from milepost.images.exporting_graph import ClassifierFacts, ClassifierGraph, Program, Results, exported_program


def compile_classifier(graph: ClassifierGraph, facts: ClassifierFacts, path: Path) -> None:
    """Write the package of a classifier, for the kind of device that it is on.

    Raises ExportError where there is no C++ compiler or compiling fails.
    """
    compile_package(path, lambda: exported_program(graph, facts.shape), instead="an .onnx file")


def load_compiled(path: Path | str) -> Program:
    """Load a package. Raises ExportError where this machine can't run it."""
    loader = load_package(path)

    def run(images: Tensor) -> Results:
        return cast(Results, tuple(loader.boxed_run([images])))

    return run
