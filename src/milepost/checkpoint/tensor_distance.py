"""By how much the values of two tensors of one form differ.

Promise: exact for integers of any size, computed in float64 for other numbers, holding two small pieces beside the
tensors.
Failure: none for tensors of equal dtype and shape.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Distance:
    """Say how many of `total` numbers differ, and the largest differences.

    `absolute` is the largest |a - b|, `relative` the largest |a - b| / max(|a|, |b|). Both are infinite where one of
    two numbers is not finite. Two NaNs do not differ, nor do 0 and -0: then `count` is 0 though the bytes are not
    equal.
    """

    count: int
    total: int
    absolute: float
    relative: float


def distance(a: torch.Tensor, b: torch.Tensor) -> Distance:
    """Measure the distance of two tensors of equal dtype and shape."""
    one, other = a.reshape(-1), b.reshape(-1)
    count, absolute, relative = 0, 0.0, 0.0
    for begin in range(0, one.numel(), _PIECE):
        x, y = _numbers(one[begin : begin + _PIECE]), _numbers(other[begin : begin + _PIECE])
        differ = (x != y) & ~((x != x) & (y != y))
        if differ.any():
            count += int(differ.sum())
            gap, ratio = _gaps(x[differ], y[differ])
            absolute, relative = max(absolute, gap), max(relative, ratio)
    return Distance(count, one.numel(), absolute, relative)


def _gaps(x: NDArray[Any], y: NDArray[Any]) -> tuple[float, float]:
    """Return the largest absolute and relative difference of numbers that all differ."""
    if x.dtype.kind in "iu":
        # Without its sign, a difference of two integers fits into as many bits as they have.
        unsigned = np.dtype(f"u{x.dtype.itemsize}")
        gap = np.where(x > y, x.view(unsigned) - y.view(unsigned), y.view(unsigned) - x.view(unsigned))
    else:
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.abs(x - y)
    size = np.maximum(np.abs(x.astype(_wide(x))), np.abs(y.astype(_wide(y))))
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = gap.astype(np.float64) / size
    largest, ratio = float(gap.max()), float(ratio.max())
    return (largest if math.isfinite(largest) else math.inf), (ratio if math.isfinite(ratio) else math.inf)


def _wide(numbers: NDArray[Any]) -> type[np.float64] | type[np.complex128]:
    return np.complex128 if numbers.dtype.kind == "c" else np.float64


def _numbers(tensor: torch.Tensor) -> NDArray[Any]:
    """Return numbers that numpy computes with, exactly those of the tensor."""
    if tensor.dtype == torch.bool:
        return tensor.view(torch.uint8).numpy()
    if tensor.is_complex():
        return tensor.to(torch.complex128).numpy()
    return tensor.to(torch.float64).numpy() if tensor.is_floating_point() else tensor.numpy()
