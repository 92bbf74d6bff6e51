"""Random numbers of learners: fair, independent by purpose, and going on exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from milepost.errors import StateMismatchError
from milepost.learning.draws import Draws

CALLS = {
    "few of many": lambda draws: draws.choice(1000, 7),
    "half": lambda draws: draws.choice(16, 8),
    "most": lambda draws: draws.choice(9, 7),
    "none": lambda draws: draws.choice(9, 0),
    "below": lambda draws: torch.from_numpy(draws.below([3, 10**9, 1])),
    "below nothing": lambda draws: torch.from_numpy(draws.below([])),
    "permutation": lambda draws: draws.permutation(6),
}
ANY = st.lists(st.sampled_from(sorted(CALLS)), max_size=12)


def drawn(draws: Draws, names: list[str]) -> list[list[int]]:
    return [CALLS[name](draws).tolist() for name in names]


def test_the_numbers_stay_what_they_are() -> None:
    """A change of these is a change of what every run does that is continued."""
    draws = Draws(0, "replay")
    assert draws.choice(1000, 5).tolist() == [360, 799, 653, 861, 514]
    assert draws.choice(5, 4).tolist() == [2, 3, 1, 4]
    assert draws.below([10, 100, 1000]).tolist() == [0, 76, 55]
    assert draws.permutation(6).tolist() == [5, 3, 1, 0, 2, 4]


@given(before=ANY, after=ANY)
def test_a_restored_stream_goes_on(before: list[str], after: list[str]) -> None:
    draws, other = Draws(3, "replay"), Draws(4, "another")
    drawn(draws, before)
    other.load_state_dict(draws.state_dict())
    assert drawn(other, after) == drawn(draws, after)
    assert other.state_dict() == draws.state_dict()


def test_a_state_of_another_form_is_refused() -> None:
    with pytest.raises(StateMismatchError, match=r"expected.*key.*words.*found.*seed"):
        Draws(0, "replay").load_state_dict({"seed": 1})


@pytest.mark.parametrize("other", [Draws(1, "keep"), Draws(2, "replay")], ids=["purpose", "seed"])
def test_streams_differ_by_seed_and_purpose(other: Draws) -> None:
    assert other.permutation(50).tolist() != Draws(1, "replay").permutation(50).tolist()


@given(population=st.integers(0, 60), share=st.floats(0, 1), seed=st.integers(-5, 2**70))
def test_a_choice_repeats_nothing(population: int, share: float, seed: int) -> None:
    count = int(share * population)
    chosen = Draws(seed, "replay").choice(population, count)
    assert chosen.dtype == torch.int64
    assert chosen.shape == (count,)
    assert len(set(chosen.tolist())) == count
    assert all(0 <= number < population for number in chosen.tolist())


@pytest.mark.parametrize("count", [4, -1])
def test_a_choice_of_more_than_there_is_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"expected at most 3 numbers, found {count}"):
        Draws(0, "replay").choice(3, count)


def test_a_permutation_has_every_number() -> None:
    assert sorted(Draws(0, "replay").permutation(40).tolist()) == list(range(40))


def test_each_number_is_below_its_own_limit() -> None:
    highs = np.array([1, 2, 7, 2**40])
    draws = Draws(0, "keep")
    found = np.array([draws.below(highs) for _ in range(200)])
    assert (found >= 0).all()
    assert (found < highs).all()
    assert set(found[:, 2].tolist()) == set(range(7))


def test_numbers_are_the_same_however_many_are_drawn_at_once() -> None:
    highs = list(range(1, 30))
    together, apart = Draws(0, "keep"), Draws(0, "keep")
    assert together.below(highs).tolist() == [int(apart.below([high])[0]) for high in highs]


@pytest.mark.parametrize(("population", "count"), [(20, 5), (20, 15)])
def test_every_number_is_chosen_as_often(population: int, count: int) -> None:
    """Chi squared with 19 degrees of freedom lies below 43.8 in 999 of 1000 cases; the seed is fixed."""
    draws, rounds = Draws(0, "replay"), 2000
    counts = np.zeros(population)
    for _ in range(rounds):
        counts[draws.choice(population, count).numpy()] += 1
    expected = rounds * count / population
    # Within a round numbers exclude each other: the variance is that of a draw without replacement.
    spread = expected * (1 - count / population) * population / (population - 1)
    assert ((counts - expected) ** 2 / spread).sum() < 43.8
