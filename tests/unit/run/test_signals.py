"""Signals are noted by the process that trains, and pass by those that work for it."""

import os
import signal

import pytest

from milepost.run.signals import STOPPING, StopSignals, ignore_stop_signals


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_the_first_signal_is_noted(number: signal.Signals) -> None:
    with StopSignals() as signals:
        assert signals.received is None
        os.kill(os.getpid(), number)
        assert signals.received is number
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received is number


def test_a_second_interrupt_raises_whatever_came_between() -> None:
    def press() -> None:
        with StopSignals():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        press()


def test_a_worker_lives_through_all_of_them() -> None:
    worker = os.fork()
    if worker == 0:
        ignore_stop_signals()
        for number in STOPPING:
            os.kill(os.getpid(), number)
        os._exit(42)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 42
