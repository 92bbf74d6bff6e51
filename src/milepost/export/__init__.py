"""A trained model → a file that other programs run, published only once it computes the same.

Promise: `export_model` leaves either a complete file that was loaded back and compared with the trained
model, or nothing. What the file is, where it came from and how exactly it agrees is recorded inside, as JSON.
Needs: an exporter, which writes one format and loads it again. Nothing here knows what a model predicts.
"""

from milepost.export.parity import Deviation, Tolerance, compare
from milepost.export.publishing import Exporter, Parity, check_target, export_model
from milepost.export.record import ExportRecord, attach_record, check_whole, find_record, read_record
from milepost.export.traces import remove_traces

__all__ = [
    "Deviation",
    "ExportRecord",
    "Exporter",
    "Parity",
    "Tolerance",
    "attach_record",
    "check_target",
    "check_whole",
    "compare",
    "export_model",
    "find_record",
    "read_record",
    "remove_traces",
]
