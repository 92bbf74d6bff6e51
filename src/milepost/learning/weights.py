"""Take the trainable weights of a model as one vector, in the order of its parameters."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def trainable(model: nn.Module) -> list[Tensor]:
    """List the trainable weights, each once."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def flattened(tensors: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """Join tensors into one new vector, or into `out`, detached."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors], out=out)


def gradients(total: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Differentiate a scalar by weights; zeros for those that it does not depend on."""
    found = torch.autograd.grad(total, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


def on_device(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    """Bring what was saved to where the weights are, as a tensor of its own."""
    return None if tensor is None else tensor.detach().to(device, copy=True)


@contextmanager
def as_evaluated(model: nn.Module) -> Iterator[None]:
    """Let a model compute as it does in an evaluation, as long as the context lasts.

    Then it is a function of its weights: dropout draws no random numbers, and no running mean moves.
    """
    learning = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in learning:
            module.training = True
