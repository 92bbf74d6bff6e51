"""Training state → file."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch

from milepost.archive import ArchivePlan, Durability, FileSystem, Tree, plan_archive, write_plan
from milepost.checkpoint.environment import environment
from milepost.checkpoint.record import CheckpointRecord, manifest_keys
from milepost.checkpoint.stateful import Stateful
from milepost.errors import UnsavableError

KIND = "checkpoint"
OPTIONS = "options.yaml"
SOURCE = "source/"

_LOOKED_AT = 100_000
"""Values among which the device is looked for: a tree that holds itself is refused later, and has no end here."""


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
    but in which environment it was written; a record without an environment gets that one.
    `source` maps paths below `source/` to the text of the architecture's code. When this returns, the file is there
    whole and, with durability "power", survives a power cut; when it raises, files saved before are as they were.

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
    if not isinstance(cast(object, state), Mapping):
        found = f"{type(state).__module__}.{type(state).__qualname__}"
        raise UnsavableError(
            f"could not save the checkpoint: expected a mapping of components by name, found {found}. "
            'Name it, as {"model": model}.'
        )
    components = {name: _tree(part) for name, part in state.items()}
    record = record or CheckpointRecord()
    if record.environment == {}:
        record = replace(record, environment=environment(_device(components)))
    return plan_archive(
        kind=KIND,
        components=components,
        files={OPTIONS: options_yaml.encode(), **{SOURCE + name: text for name, text in source.items()}},
        manifest=manifest_keys(record),
    )


def _tree(part: Stateful | Tree) -> Tree:
    return part.state_dict() if isinstance(part, Stateful) else part


def _device(components: Mapping[str, Tree]) -> torch.device:
    """Return the device that computes: that of the first tensor which is not in the host's memory, else the host."""
    devices = (tensor.device for tensor in _tensors(list(components.values())))
    return next((device for device in devices if device.type != "cpu"), torch.device("cpu"))


def _tensors(tree: Tree) -> Iterator[torch.Tensor]:
    """List the tensors of a tree without recursion, which a tree that is refused later could exhaust."""
    waiting: list[Any] = [tree]
    seen = 0
    while waiting and seen < _LOOKED_AT:
        value, seen = waiting.pop(), seen + 1
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Mapping):
            waiting.extend(cast(Mapping[Any, Any], value).values())
        elif isinstance(value, list | tuple):
            waiting.extend(cast(list[Any], value))
