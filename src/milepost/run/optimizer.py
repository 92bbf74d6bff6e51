"""Make any optimizer of torch.optim by name, and save its state by parameter name.

A state keyed by name survives a reordering of the parameters and can be read by a person; torch's own is keyed by
position.
"""

import inspect
from typing import Any

import torch
from torch import nn

from milepost.errors import OptionsError, StateMismatchError
from milepost.options import OptimizerOptions

UNSUITED = {"Optimizer", "LBFGS", "SparseAdam"}
"""Not offered: the abstract class; one that calls the loss several times a step; one for sparse gradients."""


def make_optimizer(options: OptimizerOptions, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer that the options name, over all trainable parameters of the model.

    Raises OptionsError when torch has none of that name or it refuses its arguments.
    """
    kinds = {n: k for n, k in vars(torch.optim).items() if inspect.isclass(k) and n not in UNSUITED}
    kinds = {n: k for n, k in kinds.items() if issubclass(k, torch.optim.Optimizer)}
    if options.name not in kinds:
        raise OptionsError(
            f"could not make the optimizer: expected one of {', '.join(sorted(kinds))}, "
            f"found '{options.name}'. Correct architecture.training.optimizer.name."
        )
    kind = kinds[options.name]
    arguments: dict[str, Any] = {"lr": options.learning_rate, **options.arguments}
    accepted = inspect.signature(kind).parameters
    if "weight_decay" in accepted:
        arguments["weight_decay"] = options.weight_decay
    if "fused" in accepted and "foreach" not in arguments:
        arguments.setdefault("fused", True)
    if isinstance(arguments.get("betas"), list):
        arguments["betas"] = tuple(arguments["betas"])
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        return kind(parameters, **arguments)
    except (TypeError, ValueError) as error:
        raise OptionsError(
            f"could not make the optimizer '{options.name}' with {arguments}: {error}. "
            "Correct architecture.training.optimizer."
        ) from error


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
