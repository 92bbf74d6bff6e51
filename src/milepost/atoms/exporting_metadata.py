"""Read what authors say about their model, and put it into a checkpoint.

The shape is metatrain's: `name`, `description`, `authors`, `references` with the lists `model`,
`architecture` and `implementation`. Any other key is kept; one that looks like a typing error is noted, not
refused.
"""

import difflib
from collections.abc import Mapping
from dataclasses import replace
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
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ExportError(f"could not read metadata from '{path}': {error}. Give a YAML file.") from error
    if not isinstance(content, dict):
        raise ExportError(
            f"could not read metadata from '{path}': expected lines of 'key: value', found "
            f"{type(content).__name__}. See the keys: {', '.join(KEYS)}."
        )
    metadata = {str(key): value for key, value in cast(Mapping[Any, Any], content).items()}
    problems = _problems(metadata)
    if problems:
        raise ExportError(f"could not read metadata from '{path}':\n  " + "\n  ".join(problems) + "\nCorrect the file.")
    return _as_lists(metadata), _notes(metadata)


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
