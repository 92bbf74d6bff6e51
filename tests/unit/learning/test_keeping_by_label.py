"""Every label gets its share of a buffer."""

from collections import Counter

import pytest
import torch

from milepost.learning.buffers import Balanced, Greedy, LabeledBuffer, Ring

SEED = 5


def offer(buffer: LabeledBuffer, labels: list[int]) -> list[int]:
    """Offer examples one at a time; each holds its label and its number."""
    slots: list[int] = []
    for label in labels:
        fields = {"number": torch.tensor([buffer.seen]), "label": torch.tensor([label])}
        slots += buffer.add(fields, torch.tensor([label])).tolist()
    return slots


def kept(buffer: LabeledBuffer) -> dict[int, list[int]]:
    """Return the numbers of the examples of each label, in the order in which they came."""
    found = {label: buffer.get(buffer.slots_of(label)) for label in buffer.labels}
    for label, rows in found.items():
        assert rows["label"].unique().tolist() == [label]
    return {label: rows["number"].tolist() for label, rows in found.items()}


@pytest.mark.parametrize("buffer", [Ring(4, SEED), Balanced(4, SEED), Greedy(4, SEED)], ids=lambda buffer: buffer.kind)
def test_labels_are_needed(buffer: LabeledBuffer) -> None:
    with pytest.raises(ValueError, match="expected a label for each of 2, found none"):
        buffer.add({"number": torch.ones(2)})
    with pytest.raises(ValueError, match="expected a label for each of 2, found 3"):
        buffer.replace({"number": torch.ones(2)}, torch.ones(3))
    assert len(buffer) == 0


def test_labels_of_which_nothing_is_kept() -> None:
    assert Ring(4, SEED).slots_of(3).tolist() == []
    assert Ring(4, SEED).labels == ()


def test_a_ring_with_parts_keeps_the_newest_of_each() -> None:
    ring = Ring(7, SEED, parts=3)
    assert offer(ring, [5, 5, 5, 8, 5, 2, 2]) == [0, 1, 0, 2, 1, 3, 4]
    assert kept(ring) == {5: [2, 4], 8: [3], 2: [5, 6]}
    assert len(ring) == 5


def test_a_ring_has_as_many_labels_as_parts() -> None:
    ring = Ring(4, SEED, parts=2)
    offer(ring, [0, 1])
    with pytest.raises(ValueError, match=r"label 7: expected one of \[0, 1\]"):
        offer(ring, [7])
    with pytest.raises(ValueError, match="expected 1 to 4 parts, found 5"):
        Ring(4, SEED, parts=5)


def test_a_ring_without_parts_is_shared_by_the_labels_so_far() -> None:
    ring = Ring(6, SEED)
    offer(ring, [0] * 8)
    assert kept(ring) == {0: [2, 3, 4, 5, 6, 7]}
    offer(ring, [1, 1])
    assert kept(ring) == {0: [4, 5, 6, 7], 1: [8, 9]}
    offer(ring, [1] * 5)
    assert kept(ring) == {0: [5, 6, 7], 1: [12, 13, 14]}
    offer(ring, [2, 2, 2])
    assert {label: len(numbers) for label, numbers in kept(ring).items()} == {0: 2, 1: 2, 2: 2}


@pytest.mark.parametrize("kind", [Balanced, Greedy])
def test_labels_that_come_rarely_are_kept_whole(kind: type[LabeledBuffer]) -> None:
    buffer = kind(10, SEED)
    offer(buffer, [0] * 50 + [1] * 3 + [0] * 50 + [2] * 2 + [0] * 50)
    found = kept(buffer)
    assert found[1] == [50, 51, 52]
    assert found[2] == [103, 104]
    assert len(found[0]) == 5


@pytest.mark.parametrize("kind", [Balanced, Greedy])
def test_labels_that_come_often_get_the_same_number(kind: type[LabeledBuffer]) -> None:
    buffer = kind(12, SEED)
    offer(buffer, [0] * 40 + [1] * 40 + [2] * 40)
    assert Counter(buffer.everything()["label"].tolist()) == {0: 4, 1: 4, 2: 4}


@pytest.mark.parametrize("kind", [Balanced, Greedy])
def test_there_may_be_more_labels_than_room(kind: type[LabeledBuffer]) -> None:
    buffer = kind(2, SEED)
    offer(buffer, [0, 1, 2, 3, 3])
    assert len(buffer) == 2
    assert set(kept(buffer)) <= {0, 1, 2, 3}
    assert 3 in kept(buffer)


def test_a_balanced_buffer_keeps_a_uniform_sample_of_a_label() -> None:
    """The label 0 comes 40 times, and every fourth of its examples is left: chi squared with 39 degrees of freedom."""
    counts, runs, labels = torch.zeros(40), 300, torch.tensor([0, 1] * 40)
    for seed in range(runs):
        buffer = Balanced(20, seed)
        buffer.add({"number": torch.arange(80)}, labels)
        counts[buffer.get(buffer.slots_of(0))["number"] // 2] += 1
    spread = runs * 0.25 * 0.75 * 40 / 39
    assert float(((counts - runs * 0.25) ** 2 / spread).sum()) < 72.1  # in 999 of 1000 cases


def test_a_greedy_buffer_takes_whichever_come_first() -> None:
    buffer = Greedy(4, SEED)
    assert offer(buffer, [0, 0, 0, 0, 0, 0]) == [0, 1, 2, 3, -1, -1]
    offer(buffer, [1, 1, 1])
    found = kept(buffer)
    assert found[1] == [6, 7]
    assert set(found[0]) < {0, 1, 2, 3}
    assert len(found[0]) == 2


def test_a_greedy_buffer_with_room_left_gives_a_label_its_share_only() -> None:
    buffer = Greedy(6, SEED)
    assert offer(buffer, [0, 1, 1, 1, 1, 0]) == [0, 1, 2, 3, -1, 4]


def test_labels_come_with_a_replacement() -> None:
    buffer = Greedy(4, SEED)
    offer(buffer, [0] * 4)
    buffer.replace({"number": torch.tensor([10, 11]), "label": torch.tensor([1, 2])}, torch.tensor([1, 2]))
    assert kept(buffer) == {1: [10], 2: [11]}
    assert offer(buffer, [2, 2]) == [2, -1]
