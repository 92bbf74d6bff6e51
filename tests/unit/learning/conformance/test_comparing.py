"""Two states differ where a bit does; a state has grown where it has a size that none had before."""

import re
from typing import Any

import pytest
import torch

from milepost.learning.conformance.comparing import difference, grown


@pytest.mark.parametrize(
    ("wanted", "found", "message"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, r"a\[1\].b: expected 2, found 3"),
        ({"a": 1}, {"b": 1}, r"all: expected the keys \['a'\], found \['b'\]"),
        ((1, 2), (1,), "all: expected 2 values, found 1"),
        (1, 1.0, "all: expected int, found float"),
        (torch.zeros(2), torch.tensor([0.0, 1.0]), "all: expected 0.0, found 1.0"),
        (torch.zeros(2), torch.tensor([0.0, -0.0]), "all: expected 0.0, found -0.0"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.long), r"all: expected float32 \[2\], found int64 \[2\]"),
    ],
)
def test_differences_are_told_by_place(wanted: Any, found: Any, message: str) -> None:
    assert re.fullmatch(message, difference(wanted, found) or "")


def test_what_is_equal_has_no_difference() -> None:
    nan = float("nan")
    assert (
        difference({"a": [torch.tensor([nan, 1.0]), nan, None]}, {"a": [torch.tensor([nan, 1.0]), nan, None]}) is None
    )


def test_a_size_that_no_state_before_had_has_grown() -> None:
    full, cleared = {"kept": torch.zeros(3, 2), "sum": torch.zeros(4)}, {"kept": torch.zeros(3, 2), "sum": None}
    assert grown([full, cleared], cleared) is None
    assert grown([full], {**full, "sum": torch.ones(4)}) is None
    assert grown([full], {**full, "kept": torch.zeros(4, 2)}) == (
        "all.kept: expected [3, 2] numbers as before, found [4, 2] numbers"
    )
    assert grown([full], cleared) == "all.sum: expected [4] numbers as before, found nothing"
