"""Say in an export's record which trained model it was made from."""

from collections.abc import Mapping
from typing import Any

from milepost.checkpoint import environment
from milepost.export.record import ExportRecord
from milepost.run import Trained


def record_of(
    trained: Trained, kind: str, facts: Mapping[str, Any], metadata: Mapping[str, Any], device: str
) -> ExportRecord:
    """Begin the record of a trained model's export to the format `kind`, for a device; nothing is compared yet."""
    architecture = trained.architecture
    return ExportRecord(
        format=kind,
        source=trained.digest,
        run_id=trained.record.run_id,
        step=trained.record.step,
        architecture={"name": architecture.name, "version": architecture.version},
        facts=dict(facts),
        metadata=dict(metadata),
        environment=environment(device),
    )
