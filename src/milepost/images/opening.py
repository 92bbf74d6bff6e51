"""Open any file that holds a trained classifier, told by its content and never by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from milepost.archive import kind_of
from milepost.errors import ExportError, NotAnArchiveError
from milepost.export import ExportRecord, check_whole, find_record
from milepost.export.devices import device_of_package, usable_device
from milepost.images.engines import Engine, OnnxEngine, TorchEngine
from milepost.images.exporting_graph import FORMAT_COMPILED, FORMAT_ONNX, ClassifierFacts, ClassifierGraph
from milepost.images.options import ImagesOptions, chosen_tasks
from milepost.run import open_trained


@dataclass(frozen=True)
class Opened:
    """Hold a classifier that is ready to predict, the kind of its file, and what its authors say about it."""

    engine: Engine
    kind: str
    metadata: Mapping[str, Any]


def open_classifier(path: Path | str, *, device: str | None = None) -> Opened:
    """Open a checkpoint (by default on the CPU) or an exported model (by default where it was made for).

    Raises NotAnArchiveError where the file is something else, the ArchiveError family where it is damaged,
    ExportError where its program can't run here, MissingDependencyError, OSError where it can't be read.
    """
    path = Path(path)
    record = find_record(path)
    if record is not None:
        return Opened(_program(path, record, device), record.format, record.metadata)
    if kind_of(path) is None:
        raise NotAnArchiveError(
            f"could not open '{path}' as a classifier: expected a checkpoint or a model exported by milepost, "
            "found another kind of file or a damaged one. Give a .ckpt, .onnx or .pt2 file that milepost wrote."
        )
    place = usable_device(device or "cpu", path)
    trained = open_trained(path, device=place)
    facts = ClassifierFacts.of(trained.facts, chosen_tasks(cast(ImagesOptions, trained.options)))
    graph = ClassifierGraph(trained.predictor, facts.preprocessing).eval()
    return Opened(TorchEngine(graph, facts, place), "checkpoint", trained.metadata)


def _program(path: Path, record: ExportRecord, device: str | None) -> Engine:
    facts = ClassifierFacts.from_record(record.facts)
    if record.format == FORMAT_COMPILED:
        target = device_of_package(path, str(record.environment.get("device", "cpu")), device)
        from milepost.images.compiled import load_compiled

        return TorchEngine(load_compiled(path), facts, target)
    if record.format != FORMAT_ONNX:
        raise ExportError(
            f"could not run '{path}': expected the format '{FORMAT_ONNX}' or '{FORMAT_COMPILED}', found "
            f"'{record.format}'. Install a newer Milepost."
        )
    if device not in (None, "cpu"):
        raise ExportError(
            f"could not run '{path}' on '{device}': expected the device 'cpu', where milepost runs .onnx files. "
            "Evaluate the checkpoint, or give the file to a runtime of that device."
        )
    check_whole(path)
    return OnnxEngine(path, facts)
