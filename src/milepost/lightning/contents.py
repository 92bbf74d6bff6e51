"""Lightning's checkpoint dict ↔ components of an archive.

Promise: what Lightning reads back is what it handed over, up to what `plain` says. The weights are the component
`model`, by parameter name; the parts of the training state that have a name everywhere are components too; everything
else lies in the component `lightning`.
Failure: UnsavableError naming the place; NotAnArchiveError with the command to run for a file of Lightning's own;
UnsupportedVersionError; the ArchiveError family.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from milepost.archive import Tree
from milepost.checkpoint import Checkpoint, load_checkpoint
from milepost.errors import ArchiveError, NotAnArchiveError, UnsupportedVersionError
from milepost.lightning.plain import Notes, lowered, raised

VERSION = 1
"""Version of what the components mean, in the manifest as `versions.lightning`."""

REST = "lightning"
# Lightning's key → the component.
_COMPONENTS = {
    "state_dict": "model",
    "optimizer_states": "optimizer_states",
    "lr_schedulers": "lr_schedulers",
    "loops": "loops",
    "callbacks": "callbacks",
    "hyper_parameters": "hyper_parameters",
    "datamodule_hyper_parameters": "datamodule_hyper_parameters",
}
_PARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")


def components_of(checkpoint: Mapping[str, Any]) -> dict[str, Tree]:
    """Return the components that hold `checkpoint`; its tensors are shared, not copied.

    Raises UnsavableError for a value that has no plain form.
    """
    components: dict[str, Tree] = {}
    others: dict[str, Tree] = {}
    notes: Notes = {}
    for key, value in checkpoint.items():
        tree, found = lowered(value, key)
        notes |= found
        if key in _COMPONENTS:
            components[_COMPONENTS[key]] = tree
        else:
            others[key] = tree
    written = [[list(place), form, detail] for place, (form, detail) in notes.items()]
    return components | {REST: {"order": list(checkpoint), "others": others, "notes": written}}


def read_checkpoint(path: Path | str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return the dict that Lightning handed over for the file, with its tensors on `device`; all of it is verified."""
    with _opened(path) as checkpoint:
        _check_version(checkpoint)
        rest = checkpoint.state(REST, device=device)
        notes: Notes = {tuple(place): (form, detail) for place, form, detail in rest["notes"]}
        names = set(checkpoint.components)
        result: dict[str, Any] = {}
        for key in rest["order"]:
            component = _COMPONENTS.get(key)
            if component is None:
                tree = rest["others"][key]
            elif component in names:
                tree = checkpoint.state(component, device=device)
            else:
                raise ArchiveError(f"could not load '{path}': expected the component '{component}', found none")
            result[key] = raised(tree, notes, key)
        return result


def options_text(components: Mapping[str, Tree]) -> str:
    """Return the hyper-parameters as YAML, for people: tensors are described, not written out."""
    found = {name: _described(components[name]) for name in _PARAMETERS if name in components}
    return yaml.safe_dump(found, sort_keys=False) if found else ""


def _opened(path: Path | str) -> Checkpoint:
    try:
        return load_checkpoint(path)
    except NotAnArchiveError as error:
        converted = Path(path).with_suffix(".milepost.ckpt")
        raise NotAnArchiveError(
            f"could not load '{path}' with MilepostCheckpointIO: expected a Milepost checkpoint, found another file "
            f"({error}). If Lightning saved it, convert it: milepost convert '{path}' -o '{converted}'."
        ) from None


def _check_version(checkpoint: Checkpoint) -> None:
    found = checkpoint.record.versions.get(REST)
    if found is None or REST not in checkpoint.components:
        raise NotAnArchiveError(
            f"could not load '{checkpoint.path}' with MilepostCheckpointIO: expected a checkpoint that a Lightning "
            f"Trainer saved, found one with the components {', '.join(checkpoint.components)}. "
            "Load it with milepost.checkpoint.load_checkpoint, or its weights with load_weights."
        )
    if found > VERSION:
        raise UnsupportedVersionError(
            f"could not load '{checkpoint.path}': its versions.{REST} is {found}, expected at most {VERSION}: "
            f"{checkpoint.what_to_install}."
        )


def _described(tree: Tree) -> Tree:
    if isinstance(tree, torch.Tensor):
        return f"tensor {str(tree.dtype).removeprefix('torch.')} {list(tree.shape)}"
    if isinstance(tree, dict):
        return {key: _described(item) for key, item in tree.items()}
    if isinstance(tree, list | tuple):
        return [_described(item) for item in tree]
    return tree
