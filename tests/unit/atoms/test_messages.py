"""Moving features along pairs is the plain lookup, and so are all of its derivatives."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from frames import frame, molecule, structures
from milepost.atoms.messages import gather_neighbors, reduce_mirrors, sum_by_structure

TABLE = structures([frame(molecule(), energy=0.0)]).batch(torch.tensor([0]), (1, 6))
NEIGHBORS, REVERSE = TABLE["neighbors"], TABLE["reverse"]
"""The table of a molecule and one atom of padding."""

Move = Callable[[Tensor, Tensor, Tensor], Tensor]


def inputs(move: Move) -> Tensor:
    shape = (*NEIGHBORS.shape[: 1 if move is gather_neighbors else 2], 2)
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def plain(move: Move, values: Tensor) -> Tensor:
    return values[NEIGHBORS] if move is gather_neighbors else values[NEIGHBORS, REVERSE].sum(1)


@pytest.mark.parametrize("move", [gather_neighbors, reduce_mirrors])
def test_features_move_along_pairs(move: Move) -> None:
    values = inputs(move)
    assert torch.equal(move(values, NEIGHBORS, REVERSE), plain(move, values))
    assert torch.equal(torch.jit.script(move)(values, NEIGHBORS, REVERSE), plain(move, values))


@pytest.mark.parametrize("move", [gather_neighbors, reduce_mirrors])
def test_derivatives_are_those_of_the_plain_lookup(move: Move) -> None:
    values, pull = inputs(move), torch.randn_like(plain(move, inputs(move)))
    (found,) = torch.autograd.grad((move(values, NEIGHBORS, REVERSE) * pull).sum(), values)
    (wanted,) = torch.autograd.grad((plain(move, values) * pull).sum(), values)
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)
    assert torch.autograd.gradcheck(lambda x: move(x, NEIGHBORS, REVERSE).sin(), (values,))
    assert torch.autograd.gradgradcheck(lambda x: move(x, NEIGHBORS, REVERSE).sin(), (values,))


def test_sums_leave_padding_out() -> None:
    structure = torch.tensor([0, 0, 2, 3, 7])
    values = torch.tensor([1.0, 2, 4, 8, 16])
    assert sum_by_structure(values, structure, 3).tolist() == [3, 0, 4]
    columns = torch.stack([values, -values], 1)
    assert sum_by_structure(columns, structure, 3).tolist() == [[3, -3], [0, 0], [4, -4]]
