"""Gather what a file says about itself, as plain data: kind, origin, what is in it.

Promise: reads kilobytes of a file of any size, and of another program's file no tensor where its format allows that;
runs nothing. Of our own files it imports no torch. The kind is told by the content, never by the name.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from milepost.archive import Archive, TensorRow
from milepost.cli.looks import appearance
from milepost.cli.task_contents import learner_of, tasks_of
from milepost.errors import NotAnArchiveError

FACTS = "facts"
"""Component that holds what the data fixed about a model."""


WEIGHTS = ("model", "state_dict")
"""Components whose tensors are listed by module."""
NOT_OF_AUTHORS = ("architecture", "metadata", "converted_from")
"""Keys of a checkpoint's metadata that have a place of their own in the description."""


def describe(path: Path) -> dict[str, Any]:
    """Describe a checkpoint, an exported model or a file of another program.

    Raises NotAnArchiveError saying what another file looks like, the ArchiveError family for a damaged or
    hostile file, and OSError.
    """
    found = None
    if not path.is_dir():
        try:
            with Archive.open(path) as archive:
                return _archive(archive)
        except NotAnArchiveError:
            found = _exported(path) if path.is_file() else None  # to open a pipe would wait for its writer
    found = found or _foreign(path)
    if found is None and path.is_dir():
        raise NotAnArchiveError(_about_directory(path))
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
        return _damages_of_exported(path) if path.is_file() else None


def _damages_of_exported(path: Path) -> list[str] | None:
    from milepost.export.record import damages, find_record

    return None if find_record(path) is None else damages(path)


def _about_directory(path: Path) -> str:
    inside = sorted(path.glob("*.ckpt")) or sorted(path.glob("checkpoints/*.ckpt"))
    hint = f"Give one of its files, as '{inside[-1]}'." if inside else "Give a file in it; `milepost runs` lists runs."
    return f"could not show '{path}': expected a file or a run's directory, found another directory. {hint}"


def _archive(archive: Archive) -> dict[str, Any]:
    manifest = archive.manifest
    extra = dict(manifest.extra)
    about = _section(extra.get("metadata"))
    name, versions = about.get("architecture"), _section(extra.get("versions"))
    name = name if isinstance(name, str) else None
    parents = extra.get("parents")
    others = {key: value for key, value in about.items() if key not in NOT_OF_AUTHORS}
    weights = next((component for component in WEIGHTS if component in manifest.components), None)
    return {
        "file": archive.path.name,
        "kind": manifest.kind,
        "bytes": archive.path.stat().st_size,
        "digest": archive.digest,
        "format_version": manifest.format_version,
        "architecture": {"name": name, "version": versions.get(name)} if name else {},
        **{key: extra.get(key) for key in ("run_id", "step", "epoch", "task", "created", "written_by")},
        "tasks": tasks_of(archive),
        "learner": learner_of(archive),
        "parents": parents if isinstance(parents, list) else [],
        "converted_from": _section(about.get("converted_from")),
        "versions": {"container": manifest.format_version, **versions},
        "metadata": others | _section(about.get("metadata")),
        "metrics": _section(extra.get("metrics")),
        "facts": _facts(archive),
        "environment": _section(extra.get("environment")),
        "lineage": _segments(extra.get("lineage")),
        "components": [_component(archive, component) for component in manifest.components],
        "parameters": modules(archive.tensor_table(weights)) if weights else [],
        "source": [name for name in manifest.files if name.startswith("source/")],
        "options": archive.file("options.yaml").decode(errors="replace") if "options.yaml" in manifest.files else None,
    }


def _section(value: object) -> dict[str, Any]:
    """Return a mapping as it is: other writers may put anything under a key that we know."""
    return {str(key): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def _segments(value: object) -> list[dict[str, Any]]:
    """List the environments that a run was made in, each with what changed from the one before."""
    told: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    for entry in map(_section, value if isinstance(value, list) else []):
        environment = _section(entry.get("environment"))
        told.append(entry | {"changes": _changes(before, environment)})
        before = environment
    return told


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say what differs; what only one side tells is unknown of the other."""
    return [f"{key} {before[key]} → {after[key]}" for key in before if key in after and before[key] != after[key]]


def _facts(archive: Archive) -> dict[str, Any]:
    """Read what the data fixed about the model, where it is plain values."""
    if FACTS not in archive.manifest.components or archive.tensor_table(FACTS):
        return {}
    return _section(archive.outline(FACTS))


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


def _foreign(path: Path) -> dict[str, Any] | None:
    """Describe a file of another program from its table and its pickle's opcodes; nothing it names is imported."""
    from milepost.checkpoint.foreign import open_foreign

    found = open_foreign(path)
    if found is None:
        return None
    files = [path] if path.is_file() else [inner for inner in path.rglob("*") if inner.is_file()]
    rows = found.tensor_table()
    return {
        "file": path.name,
        "kind": found.kind,
        "bytes": sum(file.stat().st_size for file in files),
        "metadata": _section(found.metadata),
        "tensors": len(rows),
        "parameters": modules(rows),
        "unpickling": {"imports": list(found.globals), "suspicious": list(found.suspicious)},
    }
