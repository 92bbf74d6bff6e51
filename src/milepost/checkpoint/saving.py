"""Training state → file."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from milepost.archive import Durability, FileSystem, Tree, write_archive
from milepost.checkpoint.record import CheckpointRecord, manifest_keys
from milepost.checkpoint.stateful import Stateful

KIND = "checkpoint"
OPTIONS = "options.yaml"
SOURCE = "source/"


def save_checkpoint(
    path: Path | str,
    state: Mapping[str, Stateful | Tree],
    *,
    options_yaml: str,
    record: CheckpointRecord,
    source: Mapping[str, bytes] = MappingProxyType({}),
    durability: Durability = "power",
    overwrite: bool = False,
    filesystem: FileSystem | None = None,
) -> str:
    """Write everything that the next step depends on into one file; return its digest, `blake3:<hex>`.

    `state` maps a component's name to a `Stateful` or to its tree. `source` maps paths below `source/` to the
    text of the architecture's code. When this returns, the file is there whole and, with durability "power",
    survives a power cut; when it raises, files saved before are as they were.

    Raises UnsavableError for a value that has no place in a file, OverwriteError, and CommitError.
    """
    manifest = write_archive(
        path,
        kind=KIND,
        components={name: _tree(part) for name, part in state.items()},
        files={OPTIONS: options_yaml.encode(), **{SOURCE + name: text for name, text in source.items()}},
        manifest=manifest_keys(record),
        durability=durability,
        overwrite=overwrite,
        filesystem=filesystem,
    )
    return manifest.digest


def _tree(part: Stateful | Tree) -> Tree:
    return part.state_dict() if isinstance(part, Stateful) else part
