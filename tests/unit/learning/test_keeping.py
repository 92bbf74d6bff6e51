"""A reservoir keeps a fair sample, and a saved one goes on as if it had not been stopped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.errors import StateMismatchError
from milepost.learning.buffers import KINDS, Buffer, Reservoir, make_buffer
from milepost.learning.keeping import chosen_rows

CAPACITY, SEED = 6, 11


def examples(first: int, count: int) -> dict[str, Tensor | list[Tensor]]:
    """Make examples that tell their number; those of one field differ in size."""
    numbers = list(range(first, first + count))
    return {"number": torch.tensor(numbers), "ragged": [torch.full((n % 3,), n, dtype=torch.int16) for n in numbers]}


def labels(first: int, count: int) -> Tensor:
    """Label examples: most of them 0, some 1 and 2."""
    return torch.tensor([(n % 7) // 3 for n in range(first, first + count)], dtype=torch.long)


def numbers(found: dict[str, Any]) -> list[int]:
    return found["number"].tolist() if found else []


def offer(buffer: Buffer, count: int) -> list[int]:
    return buffer.add(examples(buffer.seen, count), labels(buffer.seen, count)).tolist()


def through_a_file(buffer: Buffer, path: Path) -> Buffer:
    """Save a buffer, and load it into a new one as a new process would make it."""
    save_checkpoint(path, {"buffer": buffer}, durability="process", overwrite=True)
    loaded = make_buffer(buffer.kind, buffer.capacity, SEED)
    with load_checkpoint(path) as checkpoint:
        checkpoint.restore({"buffer": loaded})
    return loaded


ACTIONS = {
    "add nothing": lambda buffer: offer(buffer, 0),
    "add one": lambda buffer: offer(buffer, 1),
    "add four": lambda buffer: offer(buffer, 4),
    "add more than it holds": lambda buffer: offer(buffer, 9),
    "draw two": lambda buffer: numbers(buffer.draw(2)),
    "draw many": lambda buffer: numbers(buffer.draw(100)),
    "choose slots": lambda buffer: buffer.draw_slots(3).tolist(),
    "update": lambda buffer: buffer.update(torch.arange(len(buffer)), {"number": torch.arange(len(buffer)) + 900}),
    "replace": lambda buffer: buffer.replace(examples(500, 4), labels(0, 4)),
}


@pytest.mark.parametrize("kind", KINDS)
@given(names=st.lists(st.sampled_from(sorted(ACTIONS)), max_size=10), stop=st.integers(0, 10))
def test_a_buffer_that_was_saved_goes_on(
    kind: str, names: list[str], stop: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Wherever the stop is, the buffer empty, half full or full: the same slots, the same draws, the same bits."""
    path = tmp_path_factory.getbasetemp() / "buffer.ckpt"
    stopped, uninterrupted = make_buffer(kind, CAPACITY, SEED), make_buffer(kind, CAPACITY, SEED)
    for number, name in enumerate(names):
        if number == stop:
            stopped = through_a_file(stopped, path)
        assert ACTIONS[name](stopped) == ACTIONS[name](uninterrupted)
    assert (stopped.seen, len(stopped)) == (uninterrupted.seen, len(uninterrupted))
    found, expected = stopped.everything(), uninterrupted.everything()
    assert numbers(found) == numbers(expected)
    assert [row.tolist() for row in found.get("ragged", [])] == [row.tolist() for row in expected.get("ragged", [])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 3, CAPACITY, 50])
def test_a_saved_buffer_knows_what_it_has_seen(kind: str, count: int, tmp_path: Path) -> None:
    buffer = make_buffer(kind, CAPACITY, SEED)
    offer(buffer, count)
    assert through_a_file(buffer, tmp_path / "buffer.ckpt").seen == count


def test_old_examples_are_not_washed_out_after_a_stop(tmp_path: Path) -> None:
    """The defect of another program: the count is lost, each new example counts as one of the first that ever came.

    Of 2000 examples, 1020 came before the stop. With the count lost, every example offered next would be kept with a
    probability near one, and a few of the old ones would remain.
    """
    before, total, capacity = 1020, 2000, 200
    buffer = Reservoir(capacity, SEED)
    while buffer.seen < before:
        offer(buffer, 10)
    buffer = through_a_file(buffer, tmp_path / "buffer.ckpt")
    while buffer.seen < total:
        offer(buffer, 10)
    old = sum(number < before for number in numbers(buffer.everything()))
    # The number is hypergeometric with mean 102 and deviation 6.7.
    assert 82 <= old <= 122


@pytest.mark.parametrize("count", [0, 3])
def test_a_buffer_that_is_not_full_goes_on_filling(count: int, tmp_path: Path) -> None:
    """The other defect: a buffer that is half full or empty when it is saved counts as full, or as none, afterwards."""
    buffer = Reservoir(CAPACITY, SEED)
    offer(buffer, count)
    buffer = through_a_file(buffer, tmp_path / "buffer.ckpt")
    assert len(buffer) == count
    assert offer(buffer, CAPACITY - count) == list(range(count, CAPACITY))
    assert numbers(buffer.everything()) == list(range(CAPACITY))


def test_a_reservoir_keeps_every_example_as_often() -> None:
    """Chi squared with 29 degrees of freedom lies below 58.3 in 999 of 1000 cases; the seeds are fixed."""
    runs, total, capacity = 1500, 30, 8
    counts = np.zeros(total)
    for seed in range(runs):
        buffer = Reservoir(capacity, seed)
        for first in range(0, total, 5):
            buffer.add({"number": torch.arange(first, first + 5)})
        counts[buffer.everything()["number"].numpy()] += 1
    share = capacity / total
    spread = runs * share * (1 - share) * total / (total - 1)
    assert ((counts - runs * share) ** 2 / spread).sum() < 58.3


def test_a_reservoir_holds_the_first_examples_until_it_is_full() -> None:
    buffer = Reservoir(CAPACITY, SEED)
    assert offer(buffer, 4) == [0, 1, 2, 3]
    assert offer(buffer, 2) == [4, 5]
    assert numbers(buffer.everything()) == list(range(6))
    assert buffer.seen == 6


@pytest.mark.parametrize("kind", KINDS)
@given(sizes=st.lists(st.integers(0, 9), max_size=12), seed=st.integers(0, 99))
def test_what_is_kept_does_not_depend_on_batches_or_draws(kind: str, sizes: list[int], seed: int) -> None:
    together, apart = make_buffer(kind, CAPACITY, seed), make_buffer(kind, CAPACITY, seed)
    for size in sizes:
        offer(together, size)
        for _ in range(size):
            offer(apart, 1)
            apart.draw(2)
    assert numbers(together.everything()) == numbers(apart.everything())


@pytest.mark.parametrize("kind", KINDS)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_slots_are_told_of_what_is_kept_in_the_end(kind: str, sizes: list[int]) -> None:
    buffer = make_buffer(kind, CAPACITY, SEED)
    for size in sizes:
        first = buffer.seen
        slots = offer(buffer, size)
        kept = [slot for slot in slots if slot >= 0]
        assert len(set(kept)) == len(kept)
        if kept:
            found = numbers(buffer.get(torch.tensor(kept)))
            assert found == [first + row for row, slot in enumerate(slots) if slot >= 0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_draw_repeats_nothing_and_gives_no_more_than_there_is(kind: str) -> None:
    buffer = make_buffer(kind, CAPACITY, SEED)
    assert buffer.draw(3) == {}
    offer(buffer, 4)
    assert len(buffer.draw_slots(3)) == 3
    assert sorted(numbers(buffer.draw(10))) == sorted(numbers(buffer.everything()))
    assert len(set(numbers(buffer.draw(3)))) == 3


def test_a_draw_is_fair() -> None:
    buffer, counts, rounds = Reservoir(10, SEED), np.zeros(10), 2000
    buffer.add({"number": torch.arange(10)})
    for _ in range(rounds):
        counts[buffer.draw(3)["number"].numpy()] += 1
    # The 99.9 % point of chi squared with 9 degrees of freedom is 27.9.
    assert ((counts - rounds * 0.3) ** 2 / (rounds * 0.3 * 0.7 * 10 / 9)).sum() < 27.9


@pytest.mark.parametrize("kind", KINDS)
def test_only_examples_that_are_kept_are_asked_for(kind: str) -> None:
    given, asked = make_buffer(kind, CAPACITY, SEED), make_buffer(kind, CAPACITY, SEED)
    for first in range(0, 60, 4):
        rows_asked: list[int] = []

        def rows_of(rows: Tensor, first: int = first, into: list[int] = rows_asked) -> Any:
            into.extend(rows.tolist())
            return chosen_rows(examples(first, 4), rows)

        slots = given.add(examples(first, 4), labels(first, 4))
        assert asked.offer(4, rows_of, labels(first, 4)).equal(slots)
        assert rows_asked == [row for row, slot in enumerate(slots.tolist()) if slot >= 0]
        assert numbers(asked.everything()) == numbers(given.everything())


@pytest.mark.parametrize("kind", KINDS)
def test_replacing_changes_what_is_kept_and_not_what_was_seen(kind: str) -> None:
    buffer = make_buffer(kind, CAPACITY, SEED)
    offer(buffer, 20)
    buffer.replace(examples(100, 3), labels(100, 3))
    assert numbers(buffer.everything()) == [100, 101, 102]
    assert (len(buffer), buffer.seen) == (3, 20)
    buffer.replace({"other": torch.ones(2)}, torch.tensor([0, 1]))
    assert buffer.fields == ("other",)


def test_no_more_is_kept_than_there_is_room_for() -> None:
    buffer = Reservoir(2, SEED)
    with pytest.raises(ValueError, match="expected at most 2, found 3"):
        buffer.replace(examples(0, 3))


def test_fields_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected as many in every field, found .*'a': 2, 'b': 3"):
        Reservoir(4, SEED).add({"a": torch.ones(2), "b": torch.ones(3)})


def test_a_buffer_has_room() -> None:
    with pytest.raises(ValueError, match="expected room for 1 example or more, found 0"):
        Reservoir(0, SEED)


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of reservoir, ring, balanced, greedy, found 'heap'"):
        make_buffer("heap", 4, SEED)


@pytest.mark.parametrize("other", [make_buffer("reservoir", 7, SEED), make_buffer("greedy", 6, SEED)])
def test_the_state_of_another_buffer_is_refused(other: Buffer) -> None:
    with pytest.raises(StateMismatchError, match=r"expected a reservoir buffer of 6 examples, found a .* buffer of"):
        Reservoir(CAPACITY, SEED).load_state_dict(other.state_dict())
