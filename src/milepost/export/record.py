"""What an exported file says about itself: one JSON text inside of it.

Exported programs are zip files with one folder at the root, where the record is the entry
`<folder>/extra/milepost.json`, or ONNX files, where it is the metadata `milepost`. It is read without loading the
program, so that looking at a file runs no code.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from milepost.errors import (
    ArchiveError,
    DamagedArchiveError,
    ExportError,
    NotAnArchiveError,
    UnsupportedVersionError,
)
from milepost.export.onnxfile import add_metadata, find_metadata, is_onnx, is_unchanged, seal

ENTRY = "extra/milepost.json"
ONNX_KEY = "milepost"
RECORD_VERSION = 1
LARGEST_RECORD = 2**24


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class ExportRecord:
    """Identify an exported model.

    `format` names the kind of program, `source` is the digest of the checkpoint, `run_id` and `step` say
    which run made it and when, `architecture` is name and version. `facts` are the domain's: units, ranges,
    what the model knows. `metadata` is what its authors say: name, description, authors, references, and any
    other key. `parity` holds, for every quantity, its unit, what was allowed and what was found.
    `environment` holds versions and the device.
    """

    format: str
    source: str
    run_id: str
    step: int
    architecture: Mapping[str, Any]
    facts: Mapping[str, Any]
    metadata: Mapping[str, Any]
    environment: Mapping[str, Any]
    parity: Mapping[str, Any] = field(default_factory=dict[str, Any])
    created: str = field(default_factory=_now)
    version: int = RECORD_VERSION

    def to_json(self) -> str:
        """Write the record as JSON, keys sorted."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False)


def attach_record(path: Path, record: ExportRecord) -> None:
    """Add the record to a program that a format's own writer made.

    Raises ExportError where the file is neither a zip archive nor an ONNX file, or has a record already.
    """
    if is_onnx(path):
        add_metadata(path, ONNX_KEY, record.to_json())
        seal(path)
        return
    if not zipfile.is_zipfile(path):
        raise ExportError(
            f"could not describe '{path}': expected a zip archive or an ONNX file, found another file. Let the "
            "exporter write one."
        )
    with zipfile.ZipFile(path, "a", compression=zipfile.ZIP_STORED) as archive:
        names = archive.namelist()
        entry = f"{names[0].partition('/')[0]}/{ENTRY}"
        if entry in names:
            raise ExportError(
                f"could not describe '{path}': expected no entry '{entry}', found one. Export to a new file."
            )
        archive.writestr(zipfile.ZipInfo(entry), record.to_json())


def find_record(path: Path | str) -> ExportRecord | None:
    """Return the record of an exported model, None where the file is something else.

    Raises ArchiveError when there is a record and it can't be understood; OSError where the file can't be
    read.
    """
    described = find_metadata(path, ONNX_KEY)
    if described is not None:
        return _parse(described, path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.filename.endswith(f"/{ENTRY}")]
            if not infos:
                return None
            if len(infos) > 1 or infos[0].file_size > LARGEST_RECORD:
                raise ArchiveError(f"could not open '{path}': expected one small record '{ENTRY}', found another.")
            text = archive.read(infos[0])
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, RuntimeError, ValueError) as error:
        if isinstance(error, ArchiveError):
            raise
        return None
    return _parse(text, path)


def read_record(path: Path | str) -> ExportRecord:
    """Return the record of an exported model.

    Raises NotAnArchiveError where the file is something else, ArchiveError where its record is damaged, and
    UnsupportedVersionError where it was written by a newer version.
    """
    record = find_record(path)
    if record is None:
        raise NotAnArchiveError(
            f"could not open '{path}': expected a model exported by milepost, found another file or "
            "a damaged one. Give a file made by 'milepost export'."
        )
    return record


def damages(path: Path | str) -> list[str] | None:
    """Read every byte of an exported model and list what is damaged; None where its format holds no digest."""
    if not is_onnx(path):
        return None
    return [] if is_unchanged(path) else ["the file: its digest is not that of its bytes"]


def check_whole(path: Path | str) -> None:
    """Raise DamagedArchiveError where the bytes of an exported model are not those that were written."""
    if damages(path):
        raise DamagedArchiveError(
            f"could not open '{path}': expected the bytes that its digest is of, found others: it was damaged, or "
            "changed by another program. Export the checkpoint again."
        )


def _parse(text: bytes | str, path: Path | str) -> ExportRecord:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ArchiveError(f"could not open '{path}': its record is no JSON: {error}. Export it again.") from error
    version = cast(Mapping[str, Any], values).get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > RECORD_VERSION:
        raise UnsupportedVersionError(
            f"could not open '{path}': expected an export record of version {RECORD_VERSION} or before, "
            f"found {version}. Install a newer Milepost."
        )
    known = {item.name for item in fields(ExportRecord)}
    found: set[str] = set(cast(Mapping[str, Any], values)) if isinstance(values, dict) else set()
    if known - found:
        raise ArchiveError(
            f"could not open '{path}': expected the keys {sorted(known - found)} in its record, found none. "
            "Export it again."
        )
    return ExportRecord(**{name: values[name] for name in known})
