"""Any interleaving of training, stopping, dying, damage and changed options ends like a run that was left alone.

A few here; thousands with `python tests/lifecycle/state_machine.py --examples 2000`.
"""

import pytest

from lifecycle.state_machine import MACHINES, explore


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "examples"), [("one data set", 25), ("tasks", 12)])
def test_whatever_is_done_to_a_run_does_not_show(kind, examples):
    explore(MACHINES[kind], examples, steps=6)
