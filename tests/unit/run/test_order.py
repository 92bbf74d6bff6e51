"""The order of examples is a pure function of a few integers, and seeking is free."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from milepost.run.order import BatchOrder, keys, permutation


@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(0, 10**6), st.integers(1, 200))
def test_an_epoch_visits_every_example_once(seed, task, epoch, count):
    assert sorted(permutation(seed, task, epoch, count).tolist()) == list(range(count))


def test_the_order_is_the_same_in_every_release():
    # Stored from the definition of SplitMix64; a change would reorder every resumed run.
    assert permutation(0, 0, 0, 8).tolist() == STORED[0]
    assert permutation(7, 1, 3, 8).tolist() == STORED[1]


STORED = ([1, 0, 4, 6, 7, 2, 3, 5], [0, 3, 6, 1, 4, 2, 5, 7])


@pytest.mark.parametrize("change", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_seed_task_and_epoch_each_change_the_order(change):
    assert permutation(*change, 100).tolist() != permutation(0, 0, 0, 100).tolist()


def test_any_step_can_be_asked_for_first():
    walked, sought = BatchOrder(1, 23, 4), BatchOrder(1, 23, 4)
    steps = [walked.indices(step).tolist() for step in range(60)]
    for step in (59, 0, 31, 5, 6):
        assert sought.indices(step).tolist() == steps[step]


def test_the_last_batch_is_shorter_and_nothing_is_left_out():
    order = BatchOrder(0, 23, 4)
    assert order.steps_per_epoch == 6
    batches = [order.indices(step) for step in range(6)]
    assert [len(b) for b in batches] == [4, 4, 4, 4, 4, 3]
    assert sorted(torch.cat(batches).tolist()) == list(range(23))


def test_a_batch_is_never_larger_than_the_set():
    assert BatchOrder(0, 3, 10).indices(0).tolist() == permutation(0, 0, 0, 3).tolist()


def test_keys_look_random():
    bits = np.unpackbits(keys(0, 0, 0, 4096).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 0.005


def test_no_two_examples_have_the_same_key():
    assert len(np.unique(keys(3, 2, 1, 10**5))) == 10**5


@pytest.mark.parametrize(("examples", "size", "accumulate"), [(23, 4, 3), (24, 4, 3), (5, 4, 3), (3, 10, 2)])
def test_a_step_of_several_batches_is_one_large_batch_in_parts(examples, size, accumulate):
    order = BatchOrder(1, examples, size, accumulate=accumulate)
    large = BatchOrder(1, examples, size * accumulate)
    assert order.steps_per_epoch == large.steps_per_epoch == -(-examples // (size * accumulate))
    for step in range(3 * order.steps_per_epoch):
        parts = order.batches(step)
        assert torch.cat(parts).tolist() == order.indices(step).tolist() == large.indices(step).tolist()
        assert len(parts) <= accumulate
        assert all(len(part) == order.batch_size for part in parts[:-1])
