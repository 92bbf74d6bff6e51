"""Open any file that holds a trained potential, told by its content and never by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from milepost.archive import kind_of
from milepost.atoms.engines import Engine, TableEngine, eager
from milepost.atoms.exporting_graph import FORMAT_COMPILED, FORMAT_METATOMIC, ModelFacts
from milepost.atoms.potential import Potential
from milepost.errors import DataError, ExportError, NotAnArchiveError
from milepost.export import ExportRecord, find_record
from milepost.export.devices import device_of_package, usable_device
from milepost.run import Trained, open_trained

SKIN = 0.5
"""Reach [Å] beyond the cutoff up to which pairs are kept: good for ten to twenty steps of dynamics."""


@dataclass(frozen=True)
class Opened:
    """Hold a potential that is ready to predict, the kind of its file, and what its authors say about it."""

    engine: Engine
    kind: str
    metadata: Mapping[str, Any]
    record: ExportRecord | None


def open_potential(path: Path | str, *, device: str | None = None, skin: float = SKIN) -> Opened:
    """Open a checkpoint (by default on the CPU) or an exported model (by default where it was made for).

    Raises NotAnArchiveError where the file is something else, the ArchiveError family where it is damaged,
    ExportError where its program can't run here, OSError where it can't be read.
    """
    path = Path(path)
    record = find_record(path)
    if record is not None:
        return _exported(path, record, device, skin)
    if kind_of(path) is None:
        raise NotAnArchiveError(
            f"could not open '{path}' as a potential: expected a checkpoint or a model exported by milepost, "
            "found another kind of file or a damaged one. Give a .ckpt, .pt or .pt2 file that milepost wrote."
        )
    trained = open_trained(path, device=usable_device(device or "cpu", path))
    engine = eager(potential_of(trained), layers_of(trained), skin)
    return Opened(engine, "checkpoint", trained.metadata, None)


def potential_of(trained: Trained) -> Potential:
    """Return the potential of a checkpoint. Raises DataError where it holds another kind of model."""
    if not isinstance(trained.model, Potential):
        raise DataError(
            f"could not use '{trained.path}' on structures: expected a potential, found a model of "
            f"architecture '{trained.architecture.name}'. Give a checkpoint of the atomistic domain."
        )
    return trained.model


def layers_of(trained: Trained) -> int:
    """Count the rounds of messages, over which the range of an interaction is a multiple of the cutoff."""
    return int(getattr(cast(Any, trained.options).architecture.model, "layers", 1))


def _exported(path: Path, record: ExportRecord, device: str | None, skin: float) -> Opened:
    facts = ModelFacts.from_record(record.facts)
    made_for = str(record.environment.get("device", "cpu"))
    if record.format == FORMAT_COMPILED:
        target = device_of_package(path, made_for, device)
        from milepost.atoms.compiled import load_compiled

        engine: Engine = TableEngine(load_compiled(path), facts, target, skin)
    elif record.format == FORMAT_METATOMIC:
        from milepost.atoms.metatomic import MetatomicEngine

        engine = MetatomicEngine(path, facts, usable_device(device or "cpu", path), skin)
    else:
        raise ExportError(
            f"could not run '{path}': expected the format '{FORMAT_METATOMIC}' or '{FORMAT_COMPILED}', found "
            f"'{record.format}'. Install a newer Milepost."
        )
    return Opened(engine, record.format, record.metadata, record)
