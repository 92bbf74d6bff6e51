"""Values of a Lightning checkpoint ↔ trees of plain values and tensors, without pickle.

Promise: `raised(*lowered(value))` is `value` again for dicts, lists, tuples, numbers, text, tensors and everything
named in `_FORMS`; members of enums come back as their values, dicts of other classes as dicts.
Failure: UnsavableError naming the place and what to do there; ArchiveError where a file's notes name no such form.

What a tree cannot say is noted beside it: the place and the form of each value that was lowered to another.
"""

import argparse
import collections
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import omegaconf
import torch

from milepost.archive import Tree
from milepost.archive.tensors import stored_form
from milepost.archive.tree import MAX_TREE_DEPTH
from milepost.errors import ArchiveError, UnsavableError
from milepost.lightning import distribution

Place = tuple[Any, ...]
Note = tuple[str, Any]
Notes = dict[Place, Note]
"""Form and detail by place in the lowered tree."""


@dataclass(frozen=True)
class _Form:
    """A class of values: how they become plain, and how they are made again."""

    lower: Callable[[Any], Any]
    rebuild: Callable[[Any], Any]


_FACTORIES: dict[str, type] = {kind.__name__: kind for kind in (list, dict, int, float, str, set, tuple)}
_CLASSES: dict[str, type] = {
    "dict": dict,
    "argparse.Namespace": argparse.Namespace,
    "omegaconf.DictConfig": omegaconf.DictConfig,
    "omegaconf.ListConfig": omegaconf.ListConfig,
}


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"expected the name of a dtype, found {name!r}")
    return dtype


def _sorted(values: Any) -> list[Any]:
    return sorted(values, key=repr)  # the same bytes each time


def _rows(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape)


def _plain_configuration(value: Any) -> Any:
    return omegaconf.OmegaConf.to_container(value, resolve=False)


# By the class itself: what derives from one of these is something else.
_FORMS: dict[type, tuple[str, _Form]] = {
    torch.device: ("torch.device", _Form(str, torch.device)),
    torch.dtype: ("torch.dtype", _Form(lambda value: str(value).removeprefix("torch."), _dtype)),
    torch.Size: ("torch.Size", _Form(tuple, torch.Size)),
    set: ("set", _Form(_sorted, set)),
    frozenset: ("frozenset", _Form(_sorted, frozenset)),
    complex: ("complex", _Form(lambda value: (value.real, value.imag), lambda parts: complex(*parts))),
    bytes: ("bytes", _Form(bytes.hex, bytes.fromhex)),
    argparse.Namespace: ("argparse.Namespace", _Form(vars, lambda values: argparse.Namespace(**values))),
    collections.OrderedDict: ("collections.OrderedDict", _Form(dict, collections.OrderedDict)),
    collections.Counter: ("collections.Counter", _Form(dict, collections.Counter)),
    np.ndarray: ("numpy.ndarray", _Form(_rows, lambda tensor: tensor.cpu().numpy())),
    omegaconf.DictConfig: ("omegaconf", _Form(_plain_configuration, omegaconf.OmegaConf.create)),
    omegaconf.ListConfig: ("omegaconf", _Form(_plain_configuration, omegaconf.OmegaConf.create)),
}
_PATH = ("pathlib.Path", _Form(str, pathlib.Path))
_ATTRIBUTES = ("AttributeDict", _Form(dict, distribution.attribute_dict))
_PAIRS = ("dict of pairs", _Form(lambda value: list(value.items()), dict))
_REBUILD = {name: form.rebuild for name, form in (*_FORMS.values(), _PATH, _ATTRIBUTES, _PAIRS)}
_DEFAULTS, _MODULE_STATE, _CLASS = "collections.defaultdict", "state_dict", "class"


def lowered(value: Any, *place: Any) -> tuple[Tree, Notes]:
    """Return `value`, which is at `place` of the checkpoint, as a tree, and the notes that raise it again.

    Tensors are taken as they are, without a copy.
    """
    lowering = _Lowering(place)
    return lowering.plain(value, place), lowering.notes


def raised(tree: Tree, notes: Notes, *place: Any) -> Any:
    """Make the values again that were lowered to `tree`."""
    if isinstance(tree, dict):
        value: Any = {key: raised(item, notes, *place, key) for key, item in tree.items()}
    elif isinstance(tree, list | tuple):
        value = type(tree)(raised(item, notes, *place, index) for index, item in enumerate(tree))
    else:
        value = tree
    if place not in notes:
        return value
    try:
        return _rebuilt(value, *notes[place])
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise ArchiveError(f"could not load {where(place)}: {error}. The file was not saved by this plug-in.") from None


def where(place: Place) -> str:
    """Write a place as Python would: checkpoint['hyper_parameters']['net']."""
    return "checkpoint" + "".join(f"[{key!r}]" for key in place)


class _Lowering:
    """Turn one value into a tree, and note what the tree does not say."""

    def __init__(self, root: Place) -> None:
        self.notes: Notes = {}
        self._deepest = len(root) + MAX_TREE_DEPTH

    def plain(self, value: Any, place: Place) -> Tree:
        if isinstance(value, Enum):
            return self.plain(value.value, place)
        if isinstance(value, torch.Tensor):
            return self._tensor(value, place)
        if isinstance(value, np.generic):
            return self.plain(value.item(), place)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return str.__str__(value)
        if len(place) >= self._deepest:
            raise _unsavable(place, f"expected at most {MAX_TREE_DEPTH} levels of nesting, found more")
        found = _form_of(value)
        if found is not None:
            name, form = found
            self.notes[place] = (name, None)
            return self._container(self._lower(form, value, place), place)
        return self._special(value, place)

    def _special(self, value: Any, place: Place) -> Tree:
        if type(value) is collections.defaultdict:
            factory = value.default_factory
            name = None if factory is None else getattr(factory, "__name__", "")
            if name is not None and _FACTORIES.get(name) is not factory:
                raise _unsavable(place, f"expected a defaultdict of {', '.join(_FACTORIES)} or None, found {factory!r}")
            self.notes[place] = (_DEFAULTS, name)
            return self._container(dict(value), place)
        if isinstance(value, type):
            name = next((name for name, kind in _CLASSES.items() if kind is value), None)
            if name is not None:
                self.notes[place] = (_CLASS, name)
                return name
        return self._container(value, place)

    def _lower(self, form: _Form, value: Any, place: Place) -> Any:
        metadata = getattr(value, "_metadata", None)  # of a module's state_dict: the versions of its modules
        if isinstance(value, collections.OrderedDict) and isinstance(metadata, Mapping):
            self.notes[place] = (_MODULE_STATE, {key: dict(item) for key, item in metadata.items()})
        try:
            return form.lower(value)
        except (TypeError, ValueError) as error:
            raise _unsavable(place, str(error)) from None

    def _container(self, value: Any, place: Place) -> Tree:
        if isinstance(value, Mapping):
            if all(isinstance(key, str | int) and not isinstance(key, bool | Enum) for key in value):
                return {key: self.plain(item, (*place, key)) for key, item in value.items()}
            if place in self.notes:
                raise _unsavable(place, "expected keys that are text or integers, found others")
            self.notes[place] = (_PAIRS[0], None)
            value = list(value.items())
        if type(value) in (list, tuple):
            return type(value)(self.plain(item, (*place, index)) for index, item in enumerate(value))
        if place in self.notes and isinstance(value, str | int | float | torch.Tensor):
            return value
        found = f"the class {value.__qualname__}" if isinstance(value, type) else f"an object of {_name(type(value))}"
        raise _unsavable(place, f"expected tensors, numbers, text, and dicts, lists and tuples of them, found {found}")

    def _tensor(self, value: torch.Tensor, place: Place) -> torch.Tensor:
        try:
            stored_form(value)
        except ValueError as error:
            raise _unsavable(place, str(error)) from None
        return value.detach()


def _form_of(value: Any) -> tuple[str, _Form] | None:
    if isinstance(value, pathlib.PurePath):
        return _PATH
    if isinstance(value, dict) and type(value).__name__ == "AttributeDict":
        return _ATTRIBUTES
    return _FORMS.get(type(value))


def _rebuilt(value: Any, name: str, detail: Any) -> Any:
    if name == _DEFAULTS:
        return collections.defaultdict(None if detail is None else _FACTORIES[detail], value)
    if name == _CLASS:
        return _CLASSES[detail]
    if name == _MODULE_STATE:
        state = collections.OrderedDict(value)
        state._metadata = collections.OrderedDict(detail)  # type: ignore[attr-defined] - where torch keeps it
        return state
    if name not in _REBUILD:
        raise ValueError(f"expected one of {', '.join(sorted(_REBUILD))}, found {name!r}")
    return _REBUILD[name](value)


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _unsavable(place: Place, reason: str) -> UnsavableError:
    return UnsavableError(f"could not save {where(place)}: {reason}. {_instruction(place)}")


def _instruction(place: Place) -> str:
    match place:
        case ("hyper_parameters" | "datamodule_hyper_parameters", name, *_):
            return f"Leave it out: self.save_hyperparameters(ignore=[{name!r}])."
        case ("callbacks", name, *_):
            return f"Return plain values from state_dict() of the callback {str(name).partition('{')[0]}."
        case ("state_dict", *_):
            return "Return tensors and plain values from get_extra_state() of that module."
        case ("optimizer_states" | "lr_schedulers", *_):
            return "Return plain values from its state_dict()."
        case _:
            return "Put plain values there in on_save_checkpoint()."
