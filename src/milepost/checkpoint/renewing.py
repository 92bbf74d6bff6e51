"""A checkpoint of older versions → all of it at the versions of today.

Promise: components, files and keys that no step changes stay as they are; what was changed, and what is left out for
it, is noted. A checkpoint of today's versions stays the same.
Failure: UnknownArchitectureError, UnsupportedVersionError with what to install, DamagedArchiveError where the file is
replaced meanwhile.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import yaml

from milepost.archive import Archive, Tree
from milepost.checkpoint.loading import Checkpoint
from milepost.checkpoint.record import manifest_keys
from milepost.checkpoint.saving import KIND, OPTIONS
from milepost.checkpoint.selection import AVERAGE, RAW
from milepost.checkpoint.upgrades import TRAINING_STATE_VERSION, VERSION_KEY, upgraded_keys
from milepost.checkpoint.weight_files import compare
from milepost.errors import ConversionError, DamagedArchiveError
from milepost.model import Architecture, find_architecture
from milepost.options import expanded_yaml, load_options

OPTIMIZER = "optimizer"

Renew = Callable[[Checkpoint, dict[str, Any], dict[str, Tree], list[str]], dict[str, int]]
"""Carries a part that this layer knows nothing of, in options and state, and notes it; returns its new versions."""


@dataclass(frozen=True)
class Renewed:
    """Hold a checkpoint as it is to be written; `notes` say what a reader must know about it."""

    state: Mapping[str, Tree]
    files: Mapping[str, bytes]
    keys: Mapping[str, Any]
    notes: tuple[str, ...]


def renewed(checkpoint: Checkpoint, renew: Renew | None) -> Renewed:
    """Carry a whole checkpoint to today's versions: its training state, its architecture, and what `renew` carries."""
    with Archive.open(checkpoint.path) as archive:
        if archive.digest != checkpoint.digest:
            raise DamagedArchiveError(
                f"could not convert '{checkpoint.path}': it was replaced while it was read. Convert it again."
            )
        extra = dict(upgraded_keys(archive.manifest.extra))
        files = {name: archive.file(name) for name in archive.manifest.files}
    state: dict[str, Tree] = {name: checkpoint.state(name) for name in checkpoint.components}
    notes: list[str] = []
    if checkpoint.version != TRAINING_STATE_VERSION:
        notes.append(f"{VERSION_KEY}: version {checkpoint.version} → {TRAINING_STATE_VERSION}")
    record, data = checkpoint.record, _options(checkpoint.options_yaml)
    versions = {} if renew is None else renew(checkpoint, data, state, notes)
    architecture = _architecture(checkpoint, data)
    if architecture is not None:
        versions |= _upgrade(checkpoint, architecture, data, state, notes)
    if versions:
        files[OPTIONS] = _text(architecture, data).encode()
        record = replace(record, versions={**record.versions, **versions})
    if notes:
        origin = {"kind": KIND, "digest": checkpoint.digest}
        record = replace(record, metadata={**record.metadata, "converted_from": origin})
    else:
        notes.append("nothing to upgrade: all its versions are those of today")
    return Renewed(state, files, {**extra, **manifest_keys(record)}, tuple(notes))


def _architecture(checkpoint: Checkpoint, data: Mapping[str, Any]) -> Architecture | None:
    """Return the architecture of a checkpoint, None for somebody's own loop.

    There is none to upgrade then, whatever its options name: its record has no version of one.
    """
    section = data.get("architecture")
    name = cast(dict[str, Any], section).get("name") if isinstance(section, dict) else None
    return find_architecture(name) if isinstance(name, str) and name in checkpoint.record.versions else None


def _upgrade(
    checkpoint: Checkpoint, architecture: Architecture, data: dict[str, Any], state: dict[str, Tree], notes: list[str]
) -> dict[str, int]:
    """Carry weights and model options to the installed version of the architecture; return it where it is newer."""
    version = checkpoint.record.versions[architecture.name]
    if version == architecture.version:
        return {}
    own, changed = cast(dict[str, Any], data["architecture"].get("model") or {}), False
    for component in (part for part in (*RAW, *AVERAGE) if part in state):
        old = state[component]
        model, state[component] = architecture.upgrade(
            version, copy.deepcopy(own), copy.deepcopy(old), to_install=checkpoint.what_to_install
        )
        data["architecture"]["model"] = model
        changed = changed or not _equal(old, state[component])
    notes.append(f"{architecture.name}: version {version} → {architecture.version}")
    if changed and state.pop(OPTIMIZER, None) is not None:
        notes.append(
            f"left out: the component '{OPTIMIZER}', whose state belongs to the tensors of version {version}: "
            "fine-tune from the new file, or continue with the version that wrote the old one"
        )
    return {architecture.name: architecture.version}


def _text(architecture: Architecture | None, data: Mapping[str, Any]) -> str:
    """Write options out, those of an architecture with all defaults."""
    if architecture is None:
        return yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True)
    return expanded_yaml(load_options(None, architecture.options_class(), text=json.dumps(data)))


def _options(text: str) -> dict[str, Any]:
    """Read saved options; a loop of somebody's own may have saved none, or another text."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return cast(dict[str, Any], data) if isinstance(data, dict) else {}


def _equal(old: Any, new: Any) -> bool:
    """Tell whether an upgrade left all tensors as they were."""
    try:
        compare(Path(), old, new)
    except ConversionError:
        return False
    return True
