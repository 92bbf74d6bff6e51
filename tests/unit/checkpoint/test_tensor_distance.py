"""The distance of two tensors is that of their numbers, whatever their dtype."""

import math

import pytest
import torch

from milepost.checkpoint import tensor_distance
from milepost.checkpoint.tensor_distance import Distance, distance


def test_numbers_that_differ_are_counted_and_measured() -> None:
    a = torch.tensor([[1.0, 2.0], [4.0, -1.0]])
    b = torch.tensor([[1.0, 2.5], [3.0, -1.0]])
    assert distance(a, b) == Distance(2, 4, 1.0, 0.25)


def test_relative_is_to_the_larger() -> None:
    assert distance(torch.tensor([0.0]), torch.tensor([1e-30])).relative == 1.0
    assert distance(torch.tensor([-1.0]), torch.tensor([1.0])) == Distance(1, 1, 2.0, 2.0)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, Distance(1, 2, 0.5, 0.25)),
        (torch.bfloat16, Distance(1, 2, 0.5, 0.25)),
        (torch.float16, Distance(1, 2, 0.5, 0.25)),
        (torch.float8_e4m3fn, Distance(1, 2, 0.5, 0.25)),
        (torch.float8_e5m2fnuz, Distance(1, 2, 0.5, 0.25)),
        (torch.complex64, Distance(1, 2, 0.5, 0.25)),
        (torch.int16, Distance(1, 2, 1.0, 0.5)),
        (torch.uint64, Distance(1, 2, 1.0, 0.5)),
        (torch.uint8, Distance(1, 2, 1.0, 0.5)),
    ],
    ids=str,
)
def test_every_kind_of_number(dtype: torch.dtype, expected: Distance) -> None:
    inner = torch.float32 if dtype.is_floating_point or dtype.is_complex else torch.int64
    a = torch.tensor([1.5, 1.0]).to(inner).to(dtype)
    b = torch.tensor([2.0, 1.0]).to(inner).to(dtype)
    assert distance(a, b) == expected


def test_booleans() -> None:
    assert distance(torch.tensor([True, False]), torch.tensor([True, True])) == Distance(1, 2, 1.0, 1.0)


def test_integers_are_not_rounded() -> None:
    a = torch.tensor([2**62, -(2**63)])
    b = torch.tensor([2**62 + 1, 2**63 - 1])
    assert distance(a[:1], b[:1]).absolute == 1.0
    assert distance(a, b).absolute == float(2**64 - 1)


def test_what_is_not_finite_is_infinitely_far() -> None:
    nan, inf = math.nan, math.inf
    for one, other in ((nan, 1.0), (inf, 1.0), (inf, -inf), (-inf, nan)):
        found = distance(torch.tensor([one, 1.0]), torch.tensor([other, 1.5]))
        assert found == Distance(2, 2, inf, inf)


def test_two_nans_and_two_zeros_do_not_differ() -> None:
    assert distance(torch.tensor([math.nan, 0.0]), torch.tensor([-math.nan, -0.0])) == Distance(0, 2, 0.0, 0.0)


def test_empty_and_scalar() -> None:
    assert distance(torch.empty(0, 3), torch.empty(0, 3)) == Distance(0, 0, 0.0, 0.0)
    assert distance(torch.tensor(1.0), torch.tensor(2.0)) == Distance(1, 1, 1.0, 0.5)


def test_pieces_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_distance, "_PIECE", 3)
    a = torch.arange(8.0)
    b = a.clone()
    b[1], b[7] = 3.0, 7.5
    assert distance(a, b) == Distance(2, 8, 2.0, 2 / 3)
