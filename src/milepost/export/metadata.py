"""Read what authors say about their model, and put it into a checkpoint.

The shape is metatrain's: `name`, `description`, `authors`, `references` with the lists `model`,
`architecture` and `implementation`. Any other key is kept; one that looks like a typing error is noted, not
refused. Dates and times become text as ISO 8601 writes them; what JSON can't hold is refused.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

import yaml

from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.errors import ExportError

KEYS = ("name", "description", "authors", "references")
REFERENCES = ("model", "architecture", "implementation")


def read_metadata(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read a metadata file; return its content and notes on keys that were perhaps meant otherwise.

    Raises ExportError listing every value of the wrong kind, as "expected X, found Y".
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: no UTF-8, or a date like 2026-02-30
        raise ExportError(f"could not read metadata from '{path}': {error}. Give a YAML file.") from error
    if not isinstance(content, dict):
        raise ExportError(
            f"could not read metadata from '{path}': expected lines of 'key: value', found "
            f"{type(content).__name__}. See the keys: {', '.join(KEYS)}."
        )
    problems: list[str] = []
    metadata = cast(dict[str, Any], _plain(content, "", problems, ()))
    told = {line.partition(":")[0] for line in problems}
    problems += [line for line in _problems(metadata) if line.partition(":")[0] not in told]
    if problems:
        raise ExportError(f"could not read metadata from '{path}':\n  " + "\n  ".join(problems) + "\nCorrect the file.")
    return _as_lists(metadata), _notes(metadata)


def _plain(value: Any, where: str, problems: list[str], around: tuple[int, ...]) -> Any:
    """Return what JSON can hold of a value; the rest becomes None and a line among the problems.

    `around` holds the identities of the values that this one lies in: YAML's aliases can make a circle.
    """
    if isinstance(value, date | datetime):
        return value.isoformat()
    if id(value) in around:
        problems.append(f"{where}: expected a value, found an alias inside the value that it repeats")
        return None
    around = (*around, id(value))
    if isinstance(value, Mapping):
        items = {str(_plain(key, where, problems, ())): inner for key, inner in value.items()}
        return {key: _plain(inner, f"{where}.{key}".lstrip("."), problems, around) for key, inner in items.items()}
    if isinstance(value, list):
        return [_plain(inner, f"{where}[{i}]", problems, around) for i, inner in enumerate(value)]
    if isinstance(value, str | int | None) or (isinstance(value, float) and math.isfinite(value)):
        return value
    kind = repr(value) if isinstance(value, float) else type(value).__name__
    problems.append(f"{where}: expected text, a number, a date, a list or keys with values, found {kind}")
    return None


def _problems(metadata: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key}: expected text, found {metadata[key]!r}"
        for key in ("name", "description")
        if key in metadata and not isinstance(metadata[key], str)
    ]
    if "authors" in metadata and not _texts(metadata["authors"]):
        problems.append(f"authors: expected a list of names, found {metadata['authors']!r}")
    references = metadata.get("references", {})
    if not isinstance(references, dict):
        return [*problems, f"references: expected {', '.join(REFERENCES)}, found {references!r}"]
    return problems + [
        f"references.{key}: expected a list of texts, found {value!r}"
        for key, value in references.items()
        if not _texts(value)
    ]


def _texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(x, str) for x in value))


def _as_lists(metadata: dict[str, Any]) -> dict[str, Any]:
    """Take a single text for a list of one."""
    result = dict(metadata)
    if isinstance(result.get("authors"), str):
        result["authors"] = [result["authors"]]
    if "references" in result:
        items = result["references"].items()
        result["references"] = {str(key): [value] if isinstance(value, str) else value for key, value in items}
    return result


def _notes(metadata: Mapping[str, Any]) -> list[str]:
    found = [(key, KEYS) for key in metadata]
    found += [(key, REFERENCES) for key in metadata.get("references", {})]
    notes: list[str] = []
    for key, known in found:
        near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.7)
        if key not in known and near:
            notes.append(f"metadata: '{key}' is kept as it is; did you mean '{near[0]}'?")
    return notes


def write_described(source: Path, target: Path, metadata: Mapping[str, Any], *, overwrite: bool = False) -> str:
    """Write a checkpoint again with other metadata; return its digest. Everything else stays the same.

    Raises the ArchiveError family, OverwriteError and CommitError.
    """
    with load_checkpoint(source) as checkpoint:
        about = {**checkpoint.record.metadata, "metadata": dict(metadata)}
        return save_checkpoint(
            target,
            {name: checkpoint.state(name) for name in checkpoint.components},
            options_yaml=checkpoint.options_yaml,
            record=replace(checkpoint.record, metadata=about),
            source=checkpoint.source,
            overwrite=overwrite,
        )
