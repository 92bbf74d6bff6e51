"""Products of Cartesian tensors up to rank 2, each equivariant under rotations.

A vector is [..., 3, F]; a symmetric traceless matrix is [..., 5, F], its coefficients in an orthonormal basis
E_1 … E_5 of such matrices, tr(E_m E_n) = δ_mn. In that basis every product of these tensors is a contraction
with a constant made of the E_m alone: few, large operations, which run well as they are and compile in little
time.
"""

import math

import torch
from torch import Tensor

_HALF = math.sqrt(0.5)
_SIXTH = math.sqrt(1.0 / 6.0)

BASIS = (
    ((0.0, _HALF, 0.0), (_HALF, 0.0, 0.0), (0.0, 0.0, 0.0)),
    ((0.0, 0.0, _HALF), (0.0, 0.0, 0.0), (_HALF, 0.0, 0.0)),
    ((0.0, 0.0, 0.0), (0.0, 0.0, _HALF), (0.0, _HALF, 0.0)),
    ((_HALF, 0.0, 0.0), (0.0, -_HALF, 0.0), (0.0, 0.0, 0.0)),
    ((-_SIXTH, 0.0, 0.0), (0.0, -_SIXTH, 0.0), (0.0, 0.0, 2.0 * _SIXTH)),
)
"""The matrices E_1 … E_5: xy, xz, yz, xx - yy, and 2 zz - xx - yy."""


def basis_matrices() -> Tensor:
    """Return the basis: [5, 3, 3], double precision."""
    return torch.tensor(BASIS, dtype=torch.float64)


def matrix_times_vector() -> Tensor:
    """Tabulate the product of a matrix and a vector: [3, 5 · 3]."""
    return basis_matrices().permute(1, 0, 2).reshape(3, 15).clone()


def traceless_outer_product() -> Tensor:
    """Tabulate the symmetric traceless part of the outer product of two vectors: [5, 3 · 3]."""
    return basis_matrices().reshape(5, 9)


def traceless_matrix_product() -> Tensor:
    """Tabulate the symmetric traceless part of the product of two matrices, Σ tr(E_l E_m E_n): [5, 5 · 5]."""
    e = basis_matrices()
    return torch.einsum("lab,mbc,nca->lmn", e, e, e).reshape(5, 25)


def couple(a: Tensor, b: Tensor, table: Tensor) -> Tensor:
    """Multiply tensors by channel: [..., A, F] × [..., B, F] with a table [C, A · B] → [..., C, F]."""
    outer = (a.unsqueeze(-2) * b.unsqueeze(-3)).flatten(-3, -2)
    return torch.matmul(table, outer)
