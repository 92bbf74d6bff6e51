"""Whether a saved state fits an optimizer of torch, before it is taken over.

Promise: what torch would take over in silence and fail on later, or never, is listed: moments of other shapes, and the
settings of another kind of optimizer. Settings that torch itself adds to files of its older versions are not missed.
Needs: states as `torch.optim.Optimizer.state_dict` gives them; parameters are told apart by their places in the groups.
Failure: never raises for a state; what can't be compared is left to `load_state_dict`.
"""

import copy
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch.optim import Optimizer

# What schedulers and torch put into the groups, or do not, by the order in which things are made.
_FREE = frozenset({
    "params", "param_names", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr",
})  # fmt: skip

_KIND = "decoupled_weight_decay"

# Settings that torch adds to files older than this project: without them, a file is of another kind of optimizer.
_OLD = frozenset({"amsgrad"})

# Optimizers of torch whose states are not shaped as their parameters are.
_SHAPED_OTHERWISE = frozenset({"LBFGS", "Adafactor"})


def optimizer_mismatches(optimizer: Optimizer, state: Any) -> list[str]:
    """List how a saved state differs from what `optimizer` takes: groups, their settings, shapes of the moments."""
    groups, moments = _parts(state)
    if groups is None or moments is None:
        return [f"mismatched: expected an optimizer's state with 'state' and 'param_groups', found {_shown(state)}"]
    own = optimizer.param_groups
    if len(groups) != len(own):
        return [f"mismatched: expected {len(own)} parameter groups, found {len(groups)}"]
    problems: list[str] = []
    parameters: dict[Any, tuple[str, torch.Tensor]] = {}
    for number, (wanted, found) in enumerate(zip(own, groups, strict=True)):
        where = f"group {number}"
        numbers = found.get("params")
        if not isinstance(numbers, list) or len(cast(list[Any], numbers)) != len(wanted["params"]):
            count = len(cast(list[Any], numbers)) if isinstance(numbers, list) else "none"
            problems.append(f"mismatched: {where}: expected {len(wanted['params'])} parameters, found {count}")
            continue
        problems += _setting_problems(where, wanted, found, _as_of_today(optimizer, found))
        names = wanted.get("param_names") or range(len(wanted["params"]))
        for i, key in enumerate(cast(list[Any], numbers)):
            parameters[key] = f"{where}, parameter {names[i]}", wanted["params"][i]
    return problems + list(_moment_problems(optimizer, parameters, moments, complete=not problems))


def _parts(state: Any) -> tuple[list[dict[str, Any]] | None, Mapping[Any, Any] | None]:
    if not isinstance(state, Mapping):
        return None, None
    saved = cast(Mapping[str, Any], state)
    groups, moments = saved.get("param_groups"), saved.get("state")
    sound = isinstance(groups, list) and all(isinstance(group, dict) for group in cast(list[Any], groups))
    return (
        cast(list[dict[str, Any]], groups) if sound else None,
        cast(Mapping[Any, Any], moments) if isinstance(moments, Mapping) else None,
    )


def _setting_problems(
    where: str, wanted: Mapping[str, Any], saved: Mapping[str, Any], found: Mapping[str, Any]
) -> Iterator[str]:
    """Compare settings, not their values: those are restored. `found` are the `saved` ones as of today.

    What is no setting of any optimizer of torch may have been added while the run went on.
    """
    there = found.keys() - (_OLD - saved.keys())
    yield from (f"missing: {where}: '{key}'" for key in wanted if key not in there and key not in _FREE)
    yield from (f"unexpected: {where}: '{key}'" for key in found if key not in wanted and key in _settings())
    kinds = wanted.get(_KIND), saved.get(_KIND)  # the one setting in which Adam and AdamW differ
    if None not in kinds and kinds[0] != kinds[1]:
        yield f"mismatched: {where}: '{_KIND}': expected {kinds[0]}, found {kinds[1]}"
    names, saved_names = wanted.get("param_names"), saved.get("param_names")
    if names and saved_names and list(names) != list(saved_names):
        yield f"mismatched: {where}: expected the parameters {list(names)}, found {list(saved_names)}"


@functools.cache
def _settings() -> frozenset[str]:
    """Name the settings of all optimizers of torch."""
    kinds = [kind for kind in vars(torch.optim).values() if isinstance(kind, type) and issubclass(kind, Optimizer)]
    return frozenset(name for kind in kinds for name in inspect.signature(kind).parameters) - _FREE


def _as_of_today(optimizer: Optimizer, group: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a group with the settings that its optimizer adds to those of older versions, in `__setstate__`."""
    kind = type(optimizer)
    if not _is_of_torch(kind):
        return group
    probe = kind.__new__(kind)
    probe.__setstate__({"defaults": dict(optimizer.defaults), "state": {}, "param_groups": [copy.copy(dict(group))]})
    return cast(Mapping[str, Any], probe.param_groups[0])


def _moment_problems(
    optimizer: Optimizer,
    parameters: Mapping[Any, tuple[str, torch.Tensor]],
    moments: Mapping[Any, Any],
    *,
    complete: bool,
) -> Iterator[str]:
    """Compare what is kept of each parameter; nothing need be kept of one that had no gradient yet."""
    comparable = _is_of_torch(type(optimizer)) and type(optimizer).__name__ not in _SHAPED_OTHERWISE
    for key, kept in moments.items():
        if key not in parameters:
            if complete:
                yield f"unexpected: a state of parameter {key!r}, which is in no group"
            continue
        where, parameter = parameters[key]
        if not comparable or not isinstance(kept, Mapping):
            continue
        saved = cast(Mapping[str, Any], kept)
        own = cast(Mapping[str, Any], optimizer.state.get(parameter, {}))
        if own and saved:
            yield from (f"missing: {where}: '{name}'" for name in own if name not in saved)
            yield from (f"unexpected: {where}: '{name}'" for name in saved if name not in own)
        for name, value in saved.items():
            if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                yield (f"mismatched: {where}: '{name}': expected {tuple(parameter.shape)}, found {tuple(value.shape)}")


def _is_of_torch(kind: type[Optimizer]) -> bool:
    return kind.__module__.startswith("torch.optim.")


def _shown(state: Any) -> str:
    if not isinstance(state, Mapping):
        return type(state).__name__
    return f"one with {', '.join(repr(key) for key in cast(Mapping[Any, Any], state)) or 'nothing'}"
