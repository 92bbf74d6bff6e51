"""Choose the weights among everything that a file holds: one of ours, or one of another program.

Promise: a flat mapping from names to tensors in which two names of one tensor lead to the same object; where they lay,
and what was left out, is said. Averaged weights are chosen where there are any.
Failure: ConversionError where a file has no weights, or not those that were asked for, or some that are special (as
quantized and sparse ones), of which the stored parts alone would say something else.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from milepost.checkpoint.loading import Checkpoint
from milepost.checkpoint.module_trees import kept_as_bytes, module_state, plain_name
from milepost.errors import ConversionError

if TYPE_CHECKING:
    from milepost.checkpoint.foreign import ForeignFile
    from milepost.checkpoint.foreign.unread import Unread

Choice = Literal["raw", "average"]

MOST_NAMED = 5
"""Special tensors that an error names at most."""

MOST_LISTED = 20
"""Values without tensors that are named at most, those of a place without any as one."""

RAW = ("model", "state_dict")
AVERAGE = ("ema",)
"""Components that hold a model's weights, and their average over the steps of training."""


@dataclass(frozen=True)
class Weights:
    """Hold tensors by name; `origin` says where they lay, `left_out` what beside them has no place among weights.

    Of another program's file, `others` are the tensors elsewhere, `elsewhere` names what there is nearly a tensor, and
    `values` what is none.
    """

    tensors: Mapping[str, torch.Tensor]
    origin: str
    left_out: tuple[str, ...] = ()
    others: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    elsewhere: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


_IN_A_MODULE = "state._parameters."
"""In the name of a tensor: it is a parameter of a described object."""


@dataclass(frozen=True)
class _Places:
    """Where a kind of file keeps its weights, as prefixes of names.

    `raw` and `average` are what the words say; `usual` is what its own program takes for inference.
    """

    raw: str
    usual: str = ""
    average: str = ""


_PLACES: Mapping[str, tuple[_Places, ...]] = {
    # Lightning's WeightAveraging puts the average into state_dict and keeps the raw weights beside it.
    "lightning checkpoint": (
        _Places("current_model_state.", "state_dict.", "state_dict."),
        _Places("state_dict."),
    ),
    "mammoth checkpoint": (_Places("model."),),
    "metatrain checkpoint": (_Places("model_state_dict.", "best_model_state_dict."),),
    "torch.export program": (_Places("weights."),),
    "torch file": (_Places("state_dict."), _Places("model_state_dict."), _Places("model.")),
}


def own_weights(checkpoint: Checkpoint, choice: Choice | None = None) -> Weights:
    """Choose the weights of a checkpoint: those asked for, else the average, else the raw ones.

    A checkpoint whose tensors are all in one component needs no usual name for it.
    """
    component = _component(checkpoint, choice)
    tensors: dict[str, torch.Tensor] = {}
    left_out: list[str] = []
    for path, value in _leaves(checkpoint.state(component), ()):
        name = ".".join(path) or "weights"
        if path and not any(path):
            left_out.append(f"the name of '{name}', which is empty")
        if not isinstance(value, torch.Tensor):
            left_out.append(f"'{name}', which is no tensor")
        elif name in tensors:
            raise ConversionError(
                f"could not take the weights of '{checkpoint.path}': two tensors of the component '{component}' have "
                f"the name '{name}'. Convert it to a .ckpt file, which keeps its structure."
            )
        else:
            tensors[name] = value
    if not tensors:
        raise ConversionError(
            f"could not take the weights of '{checkpoint.path}': expected tensors in the component '{component}', "
            "found none. Give a checkpoint that holds a model."
        )
    return Weights(tensors, f"component '{component}'", tuple(left_out))


def foreign_weights(
    found: "ForeignFile", where: object, choice: Choice | None = None, taken: Collection[str] = ()
) -> Weights:
    """Choose the weights of another program's file, whose path is `where`; values at the places `taken` have another
    use, and are not left out.
    """
    unread = found.unread(taken)
    tensors = _own_numbers(found.tensors(), unread)
    if not tensors and not any(each.special for each in unread):
        raise ConversionError(
            f"could not take the weights of '{where}': expected tensors in this {found.kind}, found none. "
            "Give a file that holds a model."
        )
    whole = _whole_module(found, tensors, choice)
    if whole is not None:
        return _beside_module(*whole, where, unread)
    prefix = _prefix(found.kind, [*tensors, *(each.place for each in unread if each.special)], where, choice)
    within = [each for each in unread if each.place.startswith(prefix)]
    _check_plain(where, within)
    chosen = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    others = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
    origin = f"'{prefix[:-1]}' of a {found.kind}" if prefix else f"all of a {found.kind}"
    if found.kind == "safetensors file":
        chosen |= _tied(found.metadata, chosen)
    outside = [each for each in unread if each not in within]
    return Weights(
        chosen,
        origin,
        (
            *(str(each) for each in within if each.advice),
            *_listed([each for each in within if not each.advice]),
            *(f"the name of '{name}', which is empty or another tensor's" for name in found.unnamed),
        ),
        others,
        elsewhere=tuple(str(each) for each in outside if each.advice),
        values=_listed([each for each in outside if not each.advice]),
    )


def _listed(values: Sequence["Unread"]) -> tuple[str, ...]:
    """Name values in one line, the first of many; nothing for none."""
    more = f", and {len(values) - MOST_LISTED} more" if len(values) > MOST_LISTED else ""
    return ("; ".join(str(each) for each in values[:MOST_LISTED]) + more,) if values else ()


def _beside_module(weights: Weights, at: str, where: object, unread: Sequence["Unread"]) -> Weights:
    """Name what there is beside a module at a place, whose own other attributes are its program's, but for arrays."""
    _check_plain(where, [each for each in unread if each.place.startswith(f"{at}state.")])
    outside = [each for each in unread if not each.advice and not each.place.startswith(f"{at}state.")]
    return replace(weights, elsewhere=tuple(str(each) for each in unread if each.advice), values=_listed(outside))


def _own_numbers(tensors: Mapping[str, torch.Tensor], unread: Sequence["Unread"]) -> dict[str, torch.Tensor]:
    """Leave out the parts of special tensors."""
    parts = tuple(f"{each.place}.state." if each.place else "state." for each in unread if each.special)
    return {name: value for name, value in tensors.items() if not name.startswith(parts)}


def _check_plain(where: object, unread: Sequence["Unread"]) -> None:
    """Refuse weights that are special tensors: without them the others make another model."""
    special = [each for each in unread if each.special]
    if special:
        raise ConversionError(
            f"could not take the weights of '{where}': expected tensors that are stored as they are, found "
            + ", ".join(f"'{each.place}', {each.what}" for each in special[:MOST_NAMED])
            + (f", and {len(special) - MOST_NAMED} more" if len(special) > MOST_NAMED else "")
            + f". Save the file again: {special[0].advice}."
        )


def _whole_module(
    found: "ForeignFile", tensors: Mapping[str, torch.Tensor], choice: Choice | None
) -> tuple[Weights, str] | None:
    """Return the state dict of a module that was pickled whole, and its place: all, or one of the usual names."""
    if found.kind != "torch file" or choice == "average" or not any(_IN_A_MODULE in name for name in tensors):
        return None
    tree = found.tree()
    entries: dict[str, Any] = {"": tree}
    if isinstance(tree, dict) and "class" not in tree:
        entries = {f"{name}.": cast(dict[str, Any], tree).get(name) for name in ("model", "module", "net")}
    for prefix, inner in entries.items():
        state = module_state(inner)
        if state:
            place = f"'{prefix[:-1]}'" if prefix else "all"
            kind = cast(dict[str, Any], inner)["class"]
            left_out = tuple(f"what {module} keeps as bytes" for module in kept_as_bytes(inner))
            others = {name: value for name, value in tensors.items() if plain_name(name, prefix) not in state}
            return Weights(state, f"{place} of a torch file, a pickled {kind}", left_out, others), prefix
    return None


def _component(checkpoint: Checkpoint, choice: Choice | None) -> str:
    wanted: Sequence[str] = {"raw": RAW, "average": AVERAGE, None: (*AVERAGE, *RAW)}[choice]
    present = checkpoint.components
    for name in wanted:
        if name in present:
            return name
    holding = [name for name in present if checkpoint.tensor_table(name)]
    if len(holding) == 1 and choice != "average":
        return holding[0]
    what = {"raw": "raw weights", "average": "averaged weights", None: "weights"}[choice]
    raise ConversionError(
        f"could not take the {what} of '{checkpoint.path}': expected one of the components {', '.join(wanted)}, "
        f"found {', '.join(present) or 'none'}. "
        + ("Take its raw weights." if choice == "average" else "Give a checkpoint that holds a model.")
    )


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """List the values of a tree by the keys that lead to them."""
    if isinstance(tree, Mapping):
        for key, value in cast(Mapping[Any, Any], tree).items():
            yield from _leaves(value, (*path, str(key)))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(cast(Sequence[Any], tree)):
            yield from _leaves(value, (*path, str(index)))
    else:
        yield path, tree


def _prefix(kind: str, tensors: Collection[str], where: object, choice: Choice | None) -> str:
    """Return what the names of the chosen weights begin with; nothing where they are all there is."""
    for places in _PLACES.get(kind, ()):
        if not any(name.startswith(places.raw) for name in tensors):
            continue
        if choice == "average" and not places.average:
            break
        wanted = {"raw": places.raw, "average": places.average, None: places.usual or places.raw}[choice]
        return wanted if any(name.startswith(wanted) for name in tensors) else places.raw
    if choice == "average":
        raise ConversionError(
            f"could not take the averaged weights of '{where}': expected a place for them, found none in this {kind}. "
            "Take its raw weights."
        )
    return ""


def _tied(metadata: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Restore the names that `safetensors.torch.save_model` left to the metadata: {dropped name: stored name}.

    Source: https://huggingface.co/docs/safetensors/torch_shared_tensors.
    """
    return {name: tensors[kept] for name, kept in metadata.items() if name not in tensors and kept in tensors}
