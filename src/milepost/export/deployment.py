"""How the models of a domain are put to use: exported for other programs, and measured on data.

Each domain has one `Deployment`, which its `Domain.deployment` locates; the commands know no other way to a domain.
`deployment_of` finds it for a file, from the architecture that the file names.

Needs: the package that brought the architecture; for an exported model any architecture of the same domain will do.
Nothing in a file is run to find out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from milepost.errors import NotAnArchiveError, UnknownArchitectureError
from milepost.export.record import ExportRecord, find_record
from milepost.model import Architecture, architectures, find_architecture
from milepost.options import OptionsModel


class Opened(Protocol):
    """Hold a model that is ready to predict, the kind of its file, and what its authors say about it."""

    @property
    def kind(self) -> str:
        """Kind of the file, in a word or two."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the authors say about the model."""
        ...


class Evaluation(Protocol):
    """Hold what was measured and predicted."""

    def summary(self) -> str:
        """Write what was measured: how much data in the first line, then a figure a line with its unit."""
        ...

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the predictions. Raises OverwriteError, CommitError."""
        ...


class Deployment(Protocol):
    """Export and evaluate models of one domain; nothing heavy is imported before a method is called."""

    @property
    def formats(self) -> Mapping[str, str]:
        """Names of the formats, as `ExportRecord.format` has them, by the suffix of their files."""
        ...

    @property
    def evaluation_options(self) -> type[OptionsModel]:
        """Class that the options of an evaluation are read with."""
        ...

    def default_suffix(self) -> str:
        """Choose the suffix of an exported model where nobody did.

        Raises MissingDependencyError where no format can be written on this machine.
        """
        ...

    def export(
        self,
        checkpoint: Path,
        target: Path,
        *,
        metadata: Mapping[str, Any] | None = None,
        device: str = "cpu",
        overwrite: bool = False,
    ) -> ExportRecord:
        """Export a checkpoint in the format that the target's suffix tells.

        `metadata` replaces what the checkpoint holds. Raises what `open_trained` and `export_model` raise, and
        ExportError for another suffix.
        """
        ...

    def open(self, path: Path, *, device: str | None = None) -> Opened:
        """Open a checkpoint or an exported model, by default on the device that it was made for.

        Raises the ArchiveError family, and ExportError where its program can't run here.
        """
        ...

    def evaluate(self, opened: Any, options: Any, folder: Path) -> Evaluation:
        """Predict the data that the options name, relative to `folder`, with what `open` returned, and measure.

        Raises DataError naming file and field.
        """
        ...


def deployment_of(path: Path) -> Deployment:
    """Return the deployment of the domain that a checkpoint or an exported model belongs to.

    Raises NotAnArchiveError where the file is something else, the ArchiveError family where it is damaged,
    UnknownArchitectureError where what it needs is not installed, OSError where it can't be read.
    """
    record = find_record(path)
    return _of_checkpoint(path) if record is None else _of_exported(record)


def deployment_for(architecture: Architecture) -> Deployment:
    """Return the deployment of the domain that an architecture belongs to."""
    deployment: Deployment = architecture.domain.load().deployment.load()
    return deployment


def _of_checkpoint(path: Path) -> Deployment:
    from milepost.archive import kind_of
    from milepost.checkpoint import load_checkpoint
    from milepost.run.trained import named_architecture

    if kind_of(path) is None:
        raise NotAnArchiveError(
            f"could not open '{path}': expected a checkpoint or a model exported by milepost, found another kind "
            "of file or a damaged one. Give a file that `milepost train` or `milepost export` wrote."
        )
    with load_checkpoint(path) as checkpoint:
        return deployment_for(named_architecture(checkpoint))


def _of_exported(record: ExportRecord) -> Deployment:
    """Go by the architecture; a program runs without it, so by its format where that is not installed."""
    try:
        return deployment_for(find_architecture(str(record.architecture.get("name"))))
    except UnknownArchitectureError:
        for other in architectures():
            deployment = deployment_for(other)
            if record.format in deployment.formats.values():
                return deployment
        raise
