"""Gather what a file says about itself, as plain data: kind, origin, what is in it.

Promise: reads kilobytes of a file of any size, imports no torch, runs nothing. The kind is told by the
content, never by the name.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from milepost.archive import Archive, TensorRow
from milepost.cli.looks import appearance
from milepost.errors import NotAnArchiveError

OWN_VERSION = "training_state"
"""Key among a checkpoint's versions that belongs to the format and not to the architecture."""


def describe(path: Path) -> dict[str, Any]:
    """Describe a checkpoint or an exported model.

    Raises NotAnArchiveError saying what another file looks like, the ArchiveError family for a damaged or
    hostile file, and OSError.
    """
    if path.is_dir():
        raise NotAnArchiveError(_about_directory(path))
    try:
        with Archive.open(path) as archive:
            return _archive(archive)
    except NotAnArchiveError:
        found = _exported(path)
    if found is None:
        raise NotAnArchiveError(
            f"could not show '{path}': expected a checkpoint or an exported model, found {appearance(path)}. "
            "Give a file that `milepost train` or `milepost export` wrote."
        )
    return found


def damages(path: Path) -> list[str] | None:
    """Read every byte and list what is damaged; None for a file without digests."""
    try:
        with Archive.open(path) as archive:
            return [str(damage) for damage in archive.verify()]
    except NotAnArchiveError:
        return None


def _about_directory(path: Path) -> str:
    inside = sorted(path.glob("*.ckpt")) or sorted(path.glob("checkpoints/*.ckpt"))
    hint = f"Give one of its files, as '{inside[-1]}'." if inside else "Give a file in it."
    return f"could not show '{path}': expected a file, found a directory. {hint}"


def _archive(archive: Archive) -> dict[str, Any]:
    manifest = archive.manifest
    extra = dict(manifest.extra)
    own = dict(extra.get("metadata", {}))
    name = own.get("architecture")
    versions = {key: value for key, value in extra.get("versions", {}).items() if key != OWN_VERSION}
    return {
        "file": archive.path.name,
        "kind": manifest.kind,
        "bytes": archive.path.stat().st_size,
        "digest": archive.digest,
        "format_version": manifest.format_version,
        "architecture": {"name": name, "version": versions.get(name)} if name else {},
        "run_id": extra.get("run_id"),
        "step": extra.get("step"),
        "epoch": extra.get("epoch"),
        "created": extra.get("created"),
        "parents": list(extra.get("parents", [])),
        "metadata": own.get("metadata", {}),
        "metrics": dict(extra.get("metrics", {})),
        "facts": _document(archive, "facts.json"),
        "environment": dict(extra.get("environment", {})),
        "components": [_component(archive, component) for component in manifest.components],
        "parameters": modules(archive.tensor_table("model")) if "model" in manifest.components else [],
        "source": [name for name in manifest.files if name.startswith("source/")],
        "options": archive.file("options.yaml").decode() if "options.yaml" in manifest.files else None,
    }


def _document(archive: Archive, name: str) -> Any:
    return json.loads(archive.file(name)) if name in archive.manifest.entries else {}


def _component(archive: Archive, name: str) -> dict[str, Any]:
    entries = archive.manifest.entries
    tensors = entries.get(f"{name}.safetensors")
    size = entries[f"{name}.json"].size + (tensors.size if tensors else 0)
    return {"name": name, "tensors": len(tensors.tensors or ()) if tensors else 0, "bytes": size}


def modules(rows: Iterable[TensorRow]) -> list[dict[str, Any]]:
    """Sum stored tensors by the module that holds them, in the order of names; "" is the model itself."""
    table: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row.name.split(".")[:-1]):
        module = row.name.rpartition(".")[0]
        entry = table.setdefault(module, {"module": module, "tensors": 0, "numbers": 0, "bytes": 0, "dtypes": []})
        entry["tensors"] += 1
        entry["numbers"] += math.prod(row.shape)
        entry["bytes"] += row.bytes
        if row.dtype not in entry["dtypes"]:
            entry["dtypes"].append(row.dtype)
    return list(table.values())


def _exported(path: Path) -> dict[str, Any] | None:
    from milepost.export.record import find_record

    record = find_record(path)
    if record is None:
        return None
    fields: Mapping[str, Any] = asdict(record)
    return {"file": path.name, "kind": "exported model", "bytes": path.stat().st_size, **fields}
