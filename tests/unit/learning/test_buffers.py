"""Buffers are made by the name of their kind."""

import pytest
import torch

from milepost.learning.buffers import KINDS, Ring, make_buffer


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_is_made_by_its_name(kind):
    buffer = make_buffer(kind, 5, 1)
    assert (type(buffer), buffer.capacity, len(buffer)) == (KINDS[kind], 5, 0)


def test_a_ring_has_as_many_parts_as_are_asked_for():
    buffer = make_buffer("ring", 7, 1, parts=3)
    assert isinstance(buffer, Ring)
    buffer.add({"x": torch.arange(12)}, torch.arange(12) % 3)
    assert [buffer.get(buffer.slots_of(label))["x"].tolist() for label in range(3)] == [[6, 9], [7, 10], [8, 11]]


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match="expected one of reservoir, ring, balanced, greedy, found 'heap'"):
        make_buffer("heap", 5, 1)
    with pytest.raises(ValueError, match="a buffer of 2 parts: expected the kind 'ring', found 'reservoir'"):
        make_buffer("reservoir", 5, 1, parts=2)
    with pytest.raises(ValueError, match="expected 1 to 5 parts, found 6"):
        make_buffer("ring", 5, 1, parts=6)
