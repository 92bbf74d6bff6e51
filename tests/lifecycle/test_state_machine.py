"""Any interleaving of training, stopping, dying, damage and changed options ends like a run that was left alone.

A few here; thousands with `python tests/lifecycle/state_machine.py --examples 2000`.
"""

import pytest

from lifecycle.state_machine import explore


@pytest.mark.slow
def test_whatever_is_done_to_a_run_does_not_show():
    explore(examples=25, steps=6)
