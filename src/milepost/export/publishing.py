"""Write a draft beside the target, load it back, compare, and only then give it its name.

Promise: under the target's name there is never a file that was not compared with the trained model. A file
that another run made, or that nobody can identify, is left alone unless `overwrite` is set; an earlier export
of the same run is replaced.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from milepost.archive import atomic_write
from milepost.errors import ArchiveError, ExportError, OverwriteError, ParityError
from milepost.export.parity import Deviation, Tolerance, Values, compare, worst
from milepost.export.record import ExportRecord, attach_record, find_record, read_record


class Exporter(Protocol):
    """Write one format, and load it the way that its users will."""

    @property
    def suffix(self) -> str:
        """Suffix of the format's files, with the dot."""
        ...

    def write(self, path: Path, record: ExportRecord) -> None:
        """Write the program to a new file. Raises ExportError where the machine lacks what that needs."""
        ...

    def load(self, path: Path) -> Callable[[Any], Values]:
        """Load the file as users do: the result maps a sample to its quantities."""
        ...


@dataclass(frozen=True)
class Parity:
    """Say how the program is compared: named unseen samples, the trained model, and what may differ."""

    samples: Sequence[tuple[str, Any]]
    trained: Callable[[Any], Values]
    tolerances: dict[str, Tolerance]


def export_model(
    path: Path, exporter: Exporter, record: ExportRecord, parity: Parity, *, overwrite: bool = False
) -> ExportRecord:
    """Export to `path` and return the record that the file carries.

    Raises OverwriteError before anything is computed when the name is taken, ParityError listing every
    quantity that deviates (the draft is removed), ExportError where the format can't be written here,
    CommitError.
    """
    replacing = check_target(path, record.run_id, overwrite=overwrite)
    if not path.parent.is_dir():
        raise ExportError(f"could not export to '{path}': there is no folder '{path.parent}'. Create it first.")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".draft") as folder:
        draft = Path(folder) / f"model{exporter.suffix}"
        exporter.write(draft, record)
        found = _compared(draft, exporter, parity, path)
        record = replace(record, parity=found)
        attach_record(draft, record)
        _still_runs(draft, exporter, parity, path)
        with draft.open("rb") as source:
            atomic_write(path, lambda target: shutil.copyfileobj(source, target), overwrite=replacing)
    return record


def check_target(path: Path, run_id: str, *, overwrite: bool) -> bool:
    """Tell whether a file of that name is to be replaced; raise OverwriteError where it must not be."""
    if overwrite or not path.exists():
        return overwrite
    try:
        there = find_record(path)
    except (ArchiveError, OSError):
        there = None
    if there is not None and there.run_id == run_id:
        return True
    owner = "something that milepost did not export" if there is None else f"a model of run {there.run_id}"
    raise OverwriteError(
        f"could not export to '{path}': expected a free name or an export of run {run_id}, found {owner}. "
        "Choose another name with -o, or allow replacing it with --overwrite."
    )


def _compared(draft: Path, exporter: Exporter, parity: Parity, path: Path) -> dict[str, Any]:
    """Load the draft, compare it on every sample, and return what was found, by quantity."""
    program = exporter.load(draft)
    deviations: list[Deviation] = []
    for name, sample in parity.samples:
        deviations += compare(name, parity.trained(sample), program(sample), parity.tolerances)
    wrong = [deviation for deviation in deviations if not deviation.agrees]
    if wrong:
        raise ParityError(
            f"could not export to '{path}': the exported program computes something else than the model:\n  "
            + "\n  ".join(str(deviation) for deviation in wrong)
            + "\nNothing was written. Report this with what `milepost show` prints for the checkpoint."
        )
    return {
        name: {
            "unit": deviation.unit,
            "found": deviation.found,
            "allowed": deviation.allowed,
            "worst_sample": deviation.sample,
            "samples": len(parity.samples),
        }
        for name, deviation in worst(deviations).items()
    }


def _still_runs(draft: Path, exporter: Exporter, parity: Parity, path: Path) -> None:
    """Make sure that the record neither broke the program nor is unreadable itself."""
    read_record(draft)
    name, sample = parity.samples[0]
    deviations = compare(name, parity.trained(sample), exporter.load(draft)(sample), parity.tolerances)
    if not all(deviation.agrees for deviation in deviations):
        raise ParityError(
            f"could not export to '{path}': the program changed when its record was added:\n  "
            + "\n  ".join(str(deviation) for deviation in deviations if not deviation.agrees)
            + "\nNothing was written. Report this with the versions of torch and milepost."
        )
