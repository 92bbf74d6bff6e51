"""Recognize whose file a tree is from, by its content, and find what describes it.

Promise: a kind is given only to a tree that has the keys which that program always writes; metadata are the parts
named here that hold no tensor.

Sources of the keys: `dump_checkpoint` of Lightning 2.6 (`trainer/connectors/checkpoint_connector.py`),
`save_mammoth_checkpoint` of Mammoth (`utils/checkpoints.py`), `get_checkpoint` and `save_checkpoint` of metatrain
2026.4 (`soap_bpnn/model.py`, `soap_bpnn/trainer.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from milepost.checkpoint.foreign.leaves import LEAVES

STATE_DICT = "torch state dict"
TORCH_FILE = "torch file"


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    keys: frozenset[str]
    described_by: tuple[str, ...]


_KINDS = (
    _Kind(
        "lightning checkpoint",
        frozenset({"pytorch-lightning_version", "state_dict"}),
        (
            "epoch", "global_step", "pytorch-lightning_version", "hparams_name", "hyper_parameters",
            "datamodule_hparams_name", "datamodule_hyper_parameters",
        ),
    ),
    _Kind(
        "mammoth checkpoint",
        frozenset({"model", "args", "results", "optimizer", "scheduler"}),
        ("args", "results"),
    ),
    _Kind(
        "metatrain checkpoint",
        frozenset({"architecture_name", "model_ckpt_version", "model_data", "model_state_dict"}),
        (
            "architecture_name", "model_ckpt_version", "trainer_ckpt_version", "epoch", "best_epoch", "best_metric",
            "metadata", "train_hypers",
        ),
    ),
)  # fmt: skip
# Entries that a module's state dict may have beside tensors.
_EXTRA_STATE = "_extra_state"


def kind_of_tree(tree: Any) -> str:
    """Return the kind of a file that `torch.save` wrote."""
    if not isinstance(tree, dict):
        return TORCH_FILE
    fields = cast(dict[str | int, Any], tree)
    for kind in _KINDS:
        if kind.keys <= fields.keys() and _is_described(kind, fields):
            return kind.name
    named = all(isinstance(key, str) for key in fields)
    held = {key: value for key, value in fields.items() if not str(key).endswith(_EXTRA_STATE)}
    tensors = held and all(isinstance(value, LEAVES) for value in held.values())
    return STATE_DICT if named and tensors else TORCH_FILE


def metadata_of(kind: str, tree: Any) -> dict[str, Any]:
    """Return what a tree of this kind says about itself, without tensors."""
    if not isinstance(tree, dict) or kind == STATE_DICT:
        return {}
    fields = cast(dict[str | int, Any], tree)
    listed = next((one.described_by for one in _KINDS if one.name == kind), None)
    if listed is None:
        return {str(key): value for key, value in fields.items() if isinstance(value, str | int | float | None)}
    found = {key: fields[key] for key in listed if key in fields and not _has_tensor(fields[key])}
    if kind == "metatrain checkpoint":
        found |= _hypers(fields["model_data"])
    return found


def _is_described(kind: _Kind, fields: Mapping[str | int, Any]) -> bool:
    """Tell whether the entries whose type says nothing by chance have it."""
    state = {"lightning checkpoint": "state_dict", "mammoth checkpoint": "model"}.get(kind.name, "model_state_dict")
    return isinstance(fields[state], dict)


def _hypers(model_data: Any) -> dict[str, Any]:
    """Return the architecture's options, which metatrain keeps under one of two names."""
    if isinstance(model_data, dict):
        for key in ("model_hypers", "hypers"):
            if key in model_data and not _has_tensor(model_data[key]):
                return {"model_hypers": cast(dict[str, Any], model_data)[key]}
    return {}


def _has_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_tensor(item) for item in cast(dict[Any, Any], value).values())
    if isinstance(value, list | tuple):
        return any(_has_tensor(item) for item in cast(list[Any], value))
    return isinstance(value, LEAVES)
