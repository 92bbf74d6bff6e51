"""Write batched products of small matrices as sums of products, which a compiler fuses with what surrounds them.

A potential couples every pair with its direction by matrices of three to five rows. A library's batched product,
called once for a few dozen of them, takes longer to start and to lay out than to multiply; and what it gives goes
through memory. As plain arithmetic the same product becomes part of the loop that uses it.

Promise: the same function up to rounding. Needs: `make_fx`, which takes `FUSED` as its table of decompositions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

UNROLLED = 8
"""Longest sum that is written out term by term; longer ones, and those of free length, are reductions."""


def sum_of_products(first: Tensor, second: Tensor) -> Tensor:
    """Multiply matrices batch by batch: [batch, rows, inner] × [batch, inner, columns] → [batch, rows, columns]."""
    inner = first.shape[2]
    if not isinstance(inner, int) or inner > UNROLLED:
        return (first.unsqueeze(3) * second.unsqueeze(1)).sum(2)
    total = first[:, :, :1] * second[:, :1]
    for k in range(1, inner):
        total = total + first[:, :, k : k + 1] * second[:, k : k + 1]
    return total


FUSED: Mapping[Any, Callable[..., Any]] = {torch.ops.aten.bmm.default: sum_of_products}
"""For `make_fx`: what stands in the place of which operation."""
