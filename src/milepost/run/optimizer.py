"""Make any optimizer of torch.optim by name, and save its state by parameter name.

A state keyed by name survives a reordering of the parameters and can be read by a person; torch's own is keyed by
position.

torch's optimizers import its compiler (`torch._dynamo`, as long as importing torch itself) to tell it to keep out of
them. Nothing here compiles an optimizer, so that they are made without it: a run starts in half the time.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from milepost.errors import OptionsError, StateMismatchError
from milepost.options import Objection, OptimizerOptions
from milepost.options.expectation import did_you_mean

UNSUITED = {"Optimizer", "LBFGS", "SparseAdam", "Muon"}
"""Not offered: the abstract class; one that calls the loss several times a step; one for sparse gradients; one for
matrices alone."""

GIVEN_BESIDE = {"params", "lr", "weight_decay"}
"""Arguments of the optimizers that are options of their own."""

REFUSALS = (TypeError, ValueError, LookupError, RuntimeError, AssertionError)
"""What torch raises on arguments that an optimizer does not take."""


def optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """List the optimizers that can be chosen, by name."""
    kinds = {n: k for n, k in vars(torch.optim).items() if inspect.isclass(k) and n not in UNSUITED}
    return {n: k for n, k in sorted(kinds.items()) if issubclass(k, torch.optim.Optimizer)}


@functools.cache
def without_compiler(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Derive from a class of torch.optim one that does the same and leaves torch's compiler alone.

    What `torch._disable_dynamo` and, around `step`, `_use_grad_for_differentiable` have wrapped (torch 2.13) is taken
    from beneath the wrappers. The profiler's record and the calls of hooks that torch puts around every step, which on
    a small model take as long as the step, are there where somebody looks: `hooked` tells torch that they are seen to.
    """
    take_step: Callable[..., Any] = inspect.unwrap(kind.step)

    def bare(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> Any:
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable", False))):
            return take_step(self, closure)

    watched = torch.optim.Optimizer.profile_hook_step(bare)

    def step(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> Any:
        return (watched if _is_watched(self) else bare)(self, closure)

    step.hooked = True  # type: ignore[attr-defined]
    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), {"step": step, **methods, "__doc__": kind.__doc__})


def _is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether anybody registered a hook, or profiles."""
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        _global_optimizer_pre_hooks,
        _global_optimizer_post_hooks,
    )
    return any(hooks) or torch.autograd._profiler_enabled()  # pyright: ignore[reportPrivateImportUsage]


def make_optimizer(options: OptimizerOptions, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer that the options name, over all trainable parameters of the model.

    Raises OptionsError when torch has none of that name or it refuses its arguments.
    """
    kinds = optimizers()
    if options.name not in kinds:
        raise OptionsError(
            f"could not make the optimizer: expected one of {', '.join(kinds)}, "
            f"found '{options.name}'. Correct architecture.training.optimizer.name."
        )
    arguments = _arguments(options, kinds[options.name])
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        return without_compiler(kinds[options.name])(parameters, **arguments)
    except REFUSALS as error:
        raise OptionsError(
            f"could not make the optimizer '{options.name}' with {arguments}: {error}. "
            "Correct architecture.training.optimizer."
        ) from error


def _arguments(options: OptimizerOptions, kind: type[torch.optim.Optimizer]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"lr": options.learning_rate, **options.arguments}
    accepted = inspect.signature(kind).parameters
    if "weight_decay" in accepted:
        arguments["weight_decay"] = options.weight_decay
    if "fused" in accepted and "foreach" not in arguments:
        arguments.setdefault("fused", True)
    if isinstance(arguments.get("betas"), list):
        arguments["betas"] = tuple(arguments["betas"])
    return arguments


def optimizer_objections(options: OptimizerOptions, key: str, device: torch.device) -> Iterator[Objection]:
    """Say what is wrong with an optimizer before there is a model; `key` is where its options stand.

    A step on a parameter of a few numbers is taken with it on the device: torch looks at some arguments only then.
    """
    kinds = optimizers()
    kind = kinds.get(options.name)
    if kind is None:
        near = did_you_mean(options.name, kinds)
        yield Objection(f"{key}.name", f"expected one of {', '.join(kinds)}, found '{options.name}'{near}")
        return
    accepted = [name for name in inspect.signature(kind).parameters if name not in GIVEN_BESIDE]
    unknown = [name for name in options.arguments if name not in accepted]
    for name in unknown:
        near = did_you_mean(name, accepted) or f"; expected one of {', '.join(accepted)}"
        yield Objection(f"{key}.arguments.{name}", f"unknown argument of {options.name}{near}", (f"{key}.name",))
    if unknown:
        return
    parameter = nn.Parameter(torch.ones(2, 2, device=device))
    parameter.grad = torch.ones_like(parameter)
    try:
        without_compiler(kind)([parameter], **_arguments(options, kind)).step()
    except REFUSALS as error:
        text = f"expected arguments that {options.name} takes, found {options.arguments}: {error}"
        yield Objection(f"{key}.arguments", text, (key, "device"))


class NamedOptimizer:
    """Save and restore an optimizer's state under the names of its parameters."""

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        self.optimizer = optimizer
        self.names = [name for name, p in model.named_parameters() if p.requires_grad]

    def state_dict(self) -> dict[str, Any]:
        """Return the state by parameter name, and the settings of the parameter groups."""
        state = self.optimizer.state_dict()
        groups = [{k: v for k, v in g.items() if k != "params"} for g in state["param_groups"]]
        return {"state": {self.names[i]: s for i, s in state["state"].items()}, "groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over a saved state; every parameter must be known."""
        unknown = sorted(set(saved["state"]) - set(self.names))
        if unknown:
            raise StateMismatchError(
                f"could not restore the optimizer: expected states of the model's parameters, found also {unknown}. "
                "Resume with the options that the checkpoint was made with."
            )
        own = self.optimizer.state_dict()["param_groups"]
        groups = [{**g, "params": o["params"]} for g, o in zip(saved["groups"], own, strict=True)]
        index = {name: i for i, name in enumerate(self.names)}
        state = {index[name]: s for name, s in saved["state"].items()}
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
