"""Real power cuts on ext4: a few here, 1,000 with `python tests/faults/ext4_power_cuts.py`."""

import pytest

from faults.ext4_power_cuts import run, unavailable

CUTS = 10


@pytest.fixture(autouse=True)
def _possible() -> None:
    reason = unavailable()
    if reason:
        pytest.skip(f"power cuts on ext4: {reason}")


@pytest.mark.slow
def test_ten_power_cuts_lose_nothing():
    figures = run(CUTS, seed=1)
    print(figures)
    assert figures.broken == []
    assert figures.cuts == CUTS
    assert figures.saves > CUTS


@pytest.mark.slow
def test_the_cuts_do_destroy_what_is_not_flushed():
    figures = run(3, durability="process", seed=1)
    assert len(figures.broken) >= 2, "a cut that loses nothing proves nothing"
