"""A module that was pickled whole → its state dict, without making the module.

Promise: the names and tensors that `state_dict` of the module would give, read from the description that
`milepost.checkpoint.foreign` makes of an object of an unknown class; buffers that are not persistent are left out.
Failure: none; what is not described as a module is none.

Source of the attributes: `Module.__init__` and `Module.state_dict` in `torch/nn/modules/module.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch

from milepost.archive import Tree

_PARAMETERS, _BUFFERS, _MODULES = "_parameters", "_buffers", "_modules"
_TRANSIENT = "_non_persistent_buffers_set"


def module_state(tree: Tree) -> dict[str, torch.Tensor] | None:
    """Return the state dict of a described module, None where `tree` describes something else."""
    return dict(_tensors(tree, "")) if _attributes(tree) is not None else None


def plain_name(name: str, prefix: str) -> str | None:
    """Turn the place of a tensor in a module described at `prefix` into its name in the state dict; None elsewhere."""
    if not name.startswith(f"{prefix}state."):
        return None
    path = name.removeprefix(prefix)
    for section in (_PARAMETERS, _BUFFERS, _MODULES):
        path = path.replace(f"state.{section}.", "")
    return path


def kept_as_bytes(tree: Tree, name: str = "") -> Iterator[str]:
    """Name the modules below a described module that keep parts of themselves as bytes, as compiled code does."""
    attributes = _attributes(tree) or {}
    others = {key: value for key, value in attributes.items() if key not in (_PARAMETERS, _BUFFERS, _MODULES)}
    if _has_bytes(others):
        yield f"'{name}'" if name else "the module itself"
    for child, inner in _section(attributes, _MODULES).items():
        yield from kept_as_bytes(inner, f"{name}.{child}" if name else child)


def _tensors(tree: Tree, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    attributes = _attributes(tree) or {}
    transient = _section(attributes, _TRANSIENT).get("state")
    skipped = cast(list[Any], transient) if isinstance(transient, list) else []
    for section in (_PARAMETERS, _BUFFERS):
        for name, value in _section(attributes, section).items():
            if isinstance(value, torch.Tensor) and not (section == _BUFFERS and name in skipped):
                yield f"{prefix}{name}", value
    for name, inner in _section(attributes, _MODULES).items():
        yield from _tensors(inner, f"{prefix}{name}.")


def _attributes(tree: Tree) -> Mapping[str, Any] | None:
    """Return the attributes of a described module; every module has these three sections."""
    if not isinstance(tree, dict) or "class" not in tree:
        return None
    state = cast(dict[str, Any], tree).get("state")
    if not isinstance(state, dict):
        return None
    attributes = cast(dict[str, Any], state)
    sections = (attributes.get(name) for name in (_PARAMETERS, _BUFFERS, _MODULES))
    return attributes if all(isinstance(section, dict) for section in sections) else None


def _section(attributes: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = attributes.get(name)
    return {str(key): value for key, value in cast(dict[Any, Any], found).items()} if isinstance(found, dict) else {}


def _has_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        fields = cast(dict[Any, Any], value)
        return fields.get("class") == "builtins.bytes" or any(map(_has_bytes, fields.values()))
    return isinstance(value, list | tuple) and any(map(_has_bytes, cast(list[Any], value)))
