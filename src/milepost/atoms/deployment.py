"""Potentials put to use: exported to `.pt` (metatomic) and `.pt2` (compiled), and measured on structures.

Everything heavy is imported by the method that needs it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milepost.options import OptionsModel

if TYPE_CHECKING:
    from milepost.atoms.evaluation import Evaluation
    from milepost.atoms.opening import Opened
    from milepost.export import ExportRecord


class AtomsDeployment:
    """Export and evaluate potentials."""

    @property
    def formats(self) -> Mapping[str, str]:
        """Metatomic models and compiled ones."""
        from milepost.atoms.exporting_graph import FORMAT_COMPILED, FORMAT_METATOMIC

        return {".pt": FORMAT_METATOMIC, ".pt2": FORMAT_COMPILED}

    @property
    def evaluation_options(self) -> type[OptionsModel]:
        """Structures and their targets."""
        from milepost.atoms.evaluation import EvaluationOptions

        return EvaluationOptions

    def default_suffix(self) -> str:
        """Choose metatomic models: they need no compiler, and run in every engine."""
        return ".pt"

    def export(
        self,
        checkpoint: Path,
        target: Path,
        *,
        metadata: Mapping[str, Any] | None = None,
        device: str = "cpu",
        overwrite: bool = False,
    ) -> "ExportRecord":
        """Export a checkpoint's potential: see `export_potential`."""
        from milepost.atoms.exporting_files import export_potential

        return export_potential(checkpoint, target, metadata=metadata, device=device, overwrite=overwrite)

    def open(self, path: Path, *, device: str | None = None) -> "Opened":
        """Open a potential: see `open_potential`."""
        from milepost.atoms.opening import open_potential

        return open_potential(path, device=device)

    def evaluate(self, opened: "Opened", options: Any, folder: Path) -> "Evaluation":
        """Predict structures and compare with their targets."""
        from milepost.atoms.evaluation import evaluate_engine, read_structures

        return evaluate_engine(opened.engine, read_structures(options, folder), options)


DEPLOYMENT = AtomsDeployment()
