"""Classifiers put to use: exported to `.onnx` and `.pt2` (compiled), and measured on labelled images.

Everything heavy is imported by the method that needs it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost.options import OptionsModel

if TYPE_CHECKING:
    from milepost.export import ExportRecord
    from milepost.images.evaluation import Evaluation
    from milepost.images.opening import Opened


class ImagesDeployment:
    """Export and evaluate classifiers."""

    @property
    def formats(self) -> Mapping[str, str]:
        """ONNX programs and compiled ones."""
        from milepost.images.exporting_graph import FORMAT_COMPILED, FORMAT_ONNX

        return {".onnx": FORMAT_ONNX, ".pt2": FORMAT_COMPILED}

    @property
    def evaluation_options(self) -> type[OptionsModel]:
        """A benchmark, or files of images and labels."""
        from milepost.images.evaluation import EvaluationOptions

        return EvaluationOptions

    def default_suffix(self) -> str:
        """Choose ONNX: seconds to write where compiling takes a minute, and it runs anywhere.

        Raises MissingDependencyError where the packages that it takes are absent.
        """
        from milepost.images.onnx_program import TO_WRITE, check_installed

        check_installed(TO_WRITE, "export to .onnx")
        return ".onnx"

    def export(
        self,
        checkpoint: Path,
        target: Path,
        *,
        metadata: Mapping[str, Any] | None = None,
        device: str = "cpu",
        overwrite: bool = False,
    ) -> "ExportRecord":
        """Export a checkpoint's classifier: see `export_classifier`."""
        from milepost.images.exporting_files import export_classifier

        return export_classifier(checkpoint, target, metadata=metadata, device=device, overwrite=overwrite)

    def open(self, path: Path, *, device: str | None = None) -> "Opened":
        """Open a classifier: see `open_classifier`."""
        from milepost.images.opening import open_classifier

        return open_classifier(path, device=device)

    def evaluate(self, opened: "Opened", options: Any, folder: Path) -> "Evaluation":
        """Classify images and compare with their labels."""
        from milepost.images.evaluation import as_learned, evaluate_engine, read_parts

        whole, notes = as_learned(options, opened.engine.facts)
        return evaluate_engine(opened.engine, read_parts(whole, folder), whole, notes)


DEPLOYMENT = ImagesDeployment()
