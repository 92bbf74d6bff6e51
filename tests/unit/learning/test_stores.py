"""Examples come back from a store as they were put in, also after the store was saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.errors import StateMismatchError
from milepost.learning.stores import Store

CAPACITY = 5


def examples(first: int, count: int) -> dict[str, Tensor | list[Tensor]]:
    """Make examples that tell their number in every field; the `ragged` ones have sizes from 0 to 2."""
    numbers = range(first, first + count)
    return {
        "small": torch.tensor([[n, n + 1] for n in numbers], dtype=torch.uint8).reshape(count, 2),
        "half": torch.tensor([n / 2 for n in numbers], dtype=torch.bfloat16),
        "ragged": [torch.full((n % 3, 2), float(n), dtype=torch.float64) for n in numbers],
    }


def numbers_in(found: dict[str, Tensor | list[Tensor]]) -> list[int]:
    return [int(row[0]) for row in found["small"]]


def same(one: Any, other: Any) -> bool:
    """Tell whether two sets of examples are the same, bit for bit."""
    return set(one) == set(other) and all(
        isinstance(one[name], list) == isinstance(other[name], list)
        and len(one[name]) == len(other[name])
        and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one[name], other[name], strict=True))
        for name in one
    )


def filled(count: int) -> Store:
    store = Store(CAPACITY)
    store.put(torch.arange(count), examples(0, count))
    return store


def through_a_file(store: Store, path: Path) -> Store:
    save_checkpoint(path, {"store": store}, durability="process", overwrite=True)
    loaded = Store(CAPACITY)
    with load_checkpoint(path) as checkpoint:
        checkpoint.restore({"store": loaded})
    return loaded


def test_what_is_put_comes_back_in_its_type() -> None:
    store = filled(4)
    assert len(store) == 4
    assert store.fields == ("small", "half", "ragged")
    found = store.get(torch.tensor([2, 0, 2]))
    expected = [examples(number, 1) for number in (2, 0, 2)]
    for name in store.fields:
        assert [row.tolist() for row in found[name]] == [example[name][0].tolist() for example in expected]
        assert {row.dtype for row in found[name]} == {expected[0][name][0].dtype}


def test_a_later_example_takes_the_slot() -> None:
    store = filled(4)
    store.put(torch.tensor([1, 4]), examples(10, 2))
    assert numbers_in(store.get(torch.arange(5))) == [0, 10, 2, 3, 11]


def test_of_several_for_one_slot_the_last_wins() -> None:
    store = filled(2)
    store.put(torch.tensor([2, 1, 2, 1]), examples(10, 4))
    assert numbers_in(store.get(torch.arange(3))) == [0, 13, 12]
    assert [row.shape[0] for row in store.get(torch.arange(3))["ragged"]] == [0, 13 % 3, 12 % 3]


def test_it_keeps_copies() -> None:
    given = examples(0, 3)
    store = Store(CAPACITY)
    store.put(torch.arange(3), given)
    for rows in given.values():
        for row in rows:
            row.zero_()
    assert same(store.get(torch.arange(3)), examples(0, 3))


def test_it_keeps_no_graph() -> None:
    store = Store(CAPACITY)
    weights = torch.ones(2, 3, requires_grad=True)
    store.put(torch.arange(2), {"dense": weights * 2, "ragged": [weights[0] * 2, weights[1, :2] * 2]})
    found = store.get(torch.arange(2))
    assert not found["dense"].requires_grad
    assert not any(row.requires_grad for row in found["ragged"])


def test_rows_of_one_shape_may_come_as_a_list() -> None:
    store = filled(2)
    store.put(
        torch.tensor([2, 3]), examples(2, 2) | {"small": [torch.tensor([2, 3]).byte(), torch.tensor([3, 4]).byte()]}
    )
    found = store.get(torch.arange(4))
    assert torch.equal(found["small"], examples(0, 4)["small"])


def test_rows_that_begin_to_differ_in_shape_are_kept_in_a_list() -> None:
    store = Store(CAPACITY)
    store.put(torch.arange(2), {"system": torch.ones(2, 3)})
    store.put(torch.tensor([2, 1]), {"system": [torch.zeros(4), torch.zeros(1)]})
    assert [row.tolist() for row in store.get(torch.arange(3))["system"]] == [[1.0] * 3, [0.0], [0.0] * 4]


def test_a_list_may_be_followed_by_a_tensor() -> None:
    store = Store(CAPACITY)
    store.put(torch.arange(2), {"system": [torch.ones(1), torch.ones(2)]})
    store.put(torch.tensor([1, 2]), {"system": torch.zeros(2, 3)})
    assert [row.tolist() for row in store.get(torch.arange(3))["system"]] == [[1.0], [0.0] * 3, [0.0] * 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"small": torch.zeros(2, 2)},
            r"small: expected torch.uint8 of shape \[2\], found torch.float32 of shape \[2\]",
        ),
        ({"small": torch.zeros(2, 3).byte()}, r"small: expected torch.uint8 of shape \[2\], found .* \[3\]"),
        (
            {"small": [torch.zeros(2, 2).byte()] * 2},
            "small: expected torch.uint8 of 1 dimensions, found .* 2 dimensions",
        ),
        ({"ragged": [torch.zeros(1, 2)] * 2}, "ragged: expected torch.float64 of 2 dimensions, found torch.float32"),
        ({"half": torch.zeros(3).bfloat16()}, "half: expected 2 examples, found 3"),
        ({"other": torch.zeros(2)}, r"expected the fields \['half', 'ragged', 'small'\], found .*'other'"),
    ],
)
def test_examples_of_another_form_change_nothing(change: dict[str, Any], message: str) -> None:
    store = filled(3)
    with pytest.raises(ValueError, match=message):
        store.put(torch.tensor([0, 3]), examples(10, 2) | change)
    assert len(store) == 3
    assert same(store.get(torch.arange(3)), examples(0, 3))


def test_every_mismatch_is_listed() -> None:
    with pytest.raises(ValueError, match=r"small: (.|\n)*ragged: "):
        filled(3).put(torch.tensor([0]), {**examples(1, 1), "small": torch.zeros(1), "ragged": [torch.zeros(1)]})


def test_a_list_of_examples_unlike_each_other_is_refused_at_first() -> None:
    store = Store(CAPACITY)
    with pytest.raises(ValueError, match=r"system: expected torch.float32 of 1 dimensions, found .* 2 dimensions"):
        store.put(torch.arange(2), {"system": [torch.zeros(1), torch.zeros(1, 1)]})
    assert store.fields == ()


@pytest.mark.parametrize("slots", [[3], [2, 4], [-1], [2, 3, 4, 5]], ids=str)
def test_slots_are_filled_in_order(slots: list[int]) -> None:
    store = filled(2)
    with pytest.raises(ValueError, match="expected slots of 5 that are filled, as 2 are, or the next to be"):
        store.put(torch.tensor(slots), examples(0, len(slots)))
    assert len(store) == 2


@pytest.mark.parametrize("slots", [[2], [0, -1]], ids=str)
def test_slots_that_are_not_filled_hold_nothing(slots: list[int]) -> None:
    with pytest.raises(ValueError, match="expected slots from 0 to 1, found"):
        filled(2).get(torch.tensor(slots))


def test_nothing_can_be_put_and_got() -> None:
    store = Store(CAPACITY)
    store.put(torch.tensor([], dtype=torch.long), examples(0, 0))
    assert store.fields == ()
    assert store.get(torch.tensor([], dtype=torch.long)) == {}


def test_some_fields_can_be_replaced() -> None:
    store = filled(3)
    store.update(torch.tensor([2, 0, 2]), {"half": torch.tensor([7.0, 8.0, 9.0]).bfloat16()})
    found = store.get(torch.arange(3))
    assert found["half"].tolist() == [8.0, 0.5, 9.0]
    assert numbers_in(found) == [0, 1, 2]


@pytest.mark.parametrize(
    ("slots", "fields", "message"),
    [
        ([0], {"other": torch.zeros(1)}, "expected some of the fields .* found .*other"),
        ([0], {"half": torch.zeros(1)}, "half: expected torch.bfloat16"),
        ([3], {"half": torch.zeros(1).bfloat16()}, "expected slots from 0 to 2"),
    ],
)
def test_only_what_is_there_can_be_replaced(slots: list[int], fields: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filled(3).update(torch.tensor(slots), fields)


def test_a_cleared_store_takes_other_fields() -> None:
    store = filled(3)
    store.clear()
    assert (len(store), store.fields) == (0, ())
    store.put(torch.arange(1), {"other": torch.ones(1)})
    assert store.get(torch.arange(1))["other"].tolist() == [1.0]


PUT = st.lists(st.integers(0, CAPACITY - 1), max_size=4)


@given(puts=st.lists(PUT, max_size=8), stop=st.integers(0, 8))
def test_a_store_that_was_saved_goes_on(puts: list[list[int]], stop: int, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "store.ckpt"
    stopped, uninterrupted = Store(CAPACITY), Store(CAPACITY)
    for number, wanted in enumerate(puts):
        if number == stop:
            stopped = through_a_file(stopped, path)
        for store in (stopped, uninterrupted):
            slots = [min(slot, len(store)) for slot in wanted]
            store.put(torch.tensor(slots, dtype=torch.long), examples(10 * number, len(slots)))
    everything = torch.arange(len(uninterrupted))
    assert len(stopped) == len(uninterrupted)
    assert same(stopped.get(everything), uninterrupted.get(everything))


def test_the_state_holds_the_filled_slots_only() -> None:
    state = filled(2).state_dict()
    assert state["length"] == 2
    assert state["fields"]["small"]["rows"].shape == (2, 2)
    assert state["fields"]["ragged"]["shapes"].tolist() == [[0, 2], [1, 2]]
    assert state["fields"]["ragged"]["flat"].shape == (2,)


def test_a_state_takes_the_place_of_what_is_there() -> None:
    store = filled(5)
    store.load_state_dict(filled(2).state_dict())
    assert same(store.get(torch.arange(len(store))), examples(0, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 9}, "expected at most 5 examples, found 9(.|\n)*small: expected 9 examples, found 3"),
        ({"fields": {"small": {"rows": torch.zeros(2)}}}, "small: expected 3 examples, found 2"),
        ({"fields": {"small": {}}}, "small: expected 3 examples, found None"),
        (
            {"fields": {"ragged": {"flat": torch.zeros(4), "shapes": torch.tensor([[1], [1], [1]])}}},
            "ragged: expected 3 examples, found None",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change: dict[str, Any], message: str) -> None:
    store = filled(3)
    with pytest.raises(StateMismatchError, match=message):
        store.load_state_dict(store.state_dict() | change)
    assert same(store.get(torch.arange(3)), examples(0, 3))
