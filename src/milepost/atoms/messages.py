"""Move features along neighbor pairs without ever adding into shared memory.

Neighbors are kept as a padded table: row i lists the neighbors of atom i in `slots` columns. Because every
pair (i, j) has its mirror (j, i) in the table, the adjoint of "look up the neighbor's features" is "look up
what the neighbors' rows say about me": a gather and a dense sum. No scatter, so no race between threads and
no dependence on the order of atoms; the result is the same bits every time, on the CPU and on a GPU.

Promise: `gather_neighbors` can be differentiated any number of times, and all of its derivatives are gathers.
Needs: the reverse table of `milepost.atoms.neighbors`. Under TorchScript the plain lookup is used instead.
"""

from typing import Any

import torch
from torch import Tensor


class _Gather(torch.autograd.Function):
    """Look up the row of each neighbor; the adjoint is `_Reduce`."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(neighbors, reverse)
        return torch.ops.aten.index.Tensor(features, [neighbors])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        neighbors, reverse = ctx.saved_tensors
        return _Reduce.apply(gradients[0], neighbors, reverse), None, None  # type: ignore[no-any-return]


class _Reduce(torch.autograd.Function):
    """Sum, for each atom, what its neighbors' mirror slots hold; the adjoint is `_Gather`."""

    @staticmethod
    def forward(ctx: Any, messages: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(neighbors, reverse)
        return torch.ops.aten.index.Tensor(messages, [neighbors, reverse]).sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        neighbors, reverse = ctx.saved_tensors
        return _Gather.apply(gradients[0], neighbors, reverse), None, None  # type: ignore[no-any-return]


def gather_neighbors(features: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
    """Look up the features of every neighbor.

    Shapes: features [atoms, ...], neighbors and reverse [atoms, slots] → [atoms, slots, ...].
    """
    if not torch.jit.is_scripting():  # pyright: ignore[reportPrivateImportUsage]
        return _Gather.apply(features, neighbors, reverse)  # type: ignore[no-any-return]
    return features[neighbors]


def reduce_mirrors(messages: Tensor, neighbors: Tensor, reverse: Tensor) -> Tensor:
    """Sum, for every atom, the messages that its neighbors' mirror slots hold.

    Shapes: messages [atoms, slots, ...], neighbors and reverse [atoms, slots] → [atoms, ...].
    """
    if not torch.jit.is_scripting():  # pyright: ignore[reportPrivateImportUsage]
        return _Reduce.apply(messages, neighbors, reverse)  # type: ignore[no-any-return]
    return messages[neighbors, reverse].sum(1)


def sum_by_structure(values: Tensor, structure: Tensor, structures: int) -> Tensor:
    """Sum atomic values over the atoms of each structure, as one matrix product.

    Shapes: values [atoms] or [atoms, columns], structure [atoms] with numbers 0 … structures - 1 →
    [structures, ...]. Atoms with any other number (padding) count nowhere. A product instead of a scatter
    keeps the sum free of races.
    """
    rows = torch.arange(structures, device=structure.device).unsqueeze(1)
    membership = (structure.unsqueeze(0) == rows).to(values.dtype)
    return membership @ values
