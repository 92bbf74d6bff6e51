"""Training state → file."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from milepost.archive import ArchivePlan, Durability, FileSystem, Tree, plan_archive, write_plan
from milepost.checkpoint.environment import environment
from milepost.checkpoint.record import CheckpointRecord, manifest_keys
from milepost.checkpoint.stateful import Stateful

KIND = "checkpoint"
OPTIONS = "options.yaml"
SOURCE = "source/"


def save_checkpoint(
    path: Path | str,
    state: Mapping[str, Stateful | Tree],
    *,
    options_yaml: str = "",
    record: CheckpointRecord | None = None,
    source: Mapping[str, bytes] = MappingProxyType({}),
    durability: Durability = "power",
    overwrite: bool = False,
    filesystem: FileSystem | None = None,
) -> str:
    """Write everything that the next step depends on into one file; return its digest, `blake3:<hex>`.

    `state` maps a component's name to a `Stateful` or to its tree. Without a `record`, the file says nothing of a run
    but in which environment it was written. `source` maps paths below `source/` to the
    text of the architecture's code. When this returns, the file is there whole and, with durability "power",
    survives a power cut; when it raises, files saved before are as they were.

    Raises UnsavableError for a value that has no place in a file, OverwriteError, and CommitError.
    """
    plan = plan_checkpoint(state, options_yaml=options_yaml, record=record, source=source)
    return write_plan(path, plan, durability=durability, overwrite=overwrite, filesystem=filesystem).digest


def plan_checkpoint(
    state: Mapping[str, Stateful | Tree],
    *,
    options_yaml: str,
    record: CheckpointRecord | None,
    source: Mapping[str, bytes],
) -> ArchivePlan:
    """Gather the states and settle what `save_checkpoint` will write; the tensors stay where they are.

    Raises UnsavableError for a value that has no place in a file.
    """
    return plan_archive(
        kind=KIND,
        components={name: _tree(part) for name, part in state.items()},
        files={OPTIONS: options_yaml.encode(), **{SOURCE + name: text for name, text in source.items()}},
        manifest=manifest_keys(record or CheckpointRecord(environment=environment())),
    )


def _tree(part: Stateful | Tree) -> Tree:
    return part.state_dict() if isinstance(part, Stateful) else part
