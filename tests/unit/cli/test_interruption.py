"""A signal unwinds a command once, whatever it passes through, or is noted where the command says so."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from milepost.cli.interruption import Interrupted, Interruption
from milepost.cli.main import group
from milepost.run.signals import STOPPING


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def listening(block: Callable[[Interruption], object]) -> None:
    """Do something while signals are answered."""
    with Interruption() as interruption:
        block(interruption)


def interrupted(block: Callable[[Interruption], object]) -> Interrupted:
    """Do something that a signal ends; return what it raised."""
    with pytest.raises(Interrupted) as caught:
        listening(block)
    return caught.value


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_raises(number: signal.Signals) -> None:
    assert str(interrupted(lambda _: send(number))) == (
        f"stopped by {number.name}: nothing was computed yet; continue with the same command and --restart auto"
    )


def test_what_is_kept_is_said() -> None:
    stop = Interrupted(signal.SIGTERM)
    stop.add_note("step 3 is kept")
    stop.add_note("so is that")
    assert str(stop) == (
        "stopped by SIGTERM: step 3 is kept; so is that; continue with the same command and --restart auto"
    )


def test_no_handler_of_errors_catches_it() -> None:
    reached = []

    def block(_: Interruption) -> None:
        try:
            send(signal.SIGUSR1)
        except Exception:  # noqa: BLE001 - as other people's code does
            reached.append("handler")

    interrupted(block)
    assert reached == []


def test_cleaning_up_is_not_interrupted() -> None:
    done = []

    def block(_: Interruption) -> None:
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM)
            send(signal.SIGUSR1)
            send(signal.SIGINT)
            done.append("clean")

    assert interrupted(block).received is signal.SIGTERM
    assert done == ["clean"]


def test_what_it_was_turned_into_is_it_again() -> None:
    def block(_: Interruption) -> None:
        try:
            send(signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError("from the inside of a compiler") from error

    assert isinstance(interrupted(block).__cause__, RuntimeError)


def test_what_caught_it_is_found_out_at_the_next_check() -> None:
    def block(interruption: Interruption) -> None:
        with contextlib.suppress(BaseException):  # as other people's code does
            send(signal.SIGTERM)
        interruption.check()

    assert interrupted(block).received is signal.SIGTERM


def test_it_is_noted_where_it_is_deferred() -> None:
    def block(interruption: Interruption) -> None:
        with interruption.deferred() as noted:
            assert noted.received is None
            send(signal.SIGUSR2)
            send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert noted.received is signal.SIGUSR2

    listening(block)


def test_an_error_of_the_loop_is_not_taken_for_it() -> None:
    def block(interruption: Interruption) -> None:
        with interruption.deferred():
            send(signal.SIGTERM)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        listening(block)


def test_it_raises_again_after_what_deferred_it() -> None:
    def block(interruption: Interruption) -> None:
        with interruption.deferred():
            pass
        send(signal.SIGTERM)

    interrupted(block)


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in STOPPING]

    def block(_: Interruption) -> None:
        assert before != [signal.getsignal(number) for number in STOPPING]
        send(signal.SIGTERM)

    interrupted(block)
    assert before == [signal.getsignal(number) for number in STOPPING]


PROGRAM = """
import os, signal
from milepost.cli.interruption import Interruption
with Interruption(to_the_end=True) as interruption:
    {inside}
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
    os.kill(os.getpid(), number)
print("over")
"""


def outcome(inside: str) -> tuple[int, str]:
    ended = subprocess.run([sys.executable, "-c", PROGRAM.format(inside=inside)], capture_output=True, text=True)
    return ended.returncode, ended.stdout


def test_nothing_interrupts_a_process_that_is_leaving() -> None:
    assert outcome("pass") == (0, "over\n")


def test_the_second_interrupt_leaves_at_once() -> None:
    """No `finally` runs, no thread is waited for."""
    press = "os.kill(os.getpid(), signal.SIGINT)"
    waiting = f"import threading; threading.Thread(target=threading.Event().wait).start(); {press}; {press}"
    assert outcome(f"interruption.deferring = True; {waiting}") == (130, "")


@pytest.mark.parametrize(("verb", "answered"), [("train", True), ("show", False), ("export", False)])
def test_training_alone_answers_signals(milepost, monkeypatch, verb: str, answered: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    changed = []

    def note(*arguments: object, **keywords: object) -> int:
        changed.append(signal.getsignal(signal.SIGTERM) != before)
        return 0

    monkeypatch.setattr(group, "main", note)
    assert milepost(verb, "x").status == 0
    assert changed == [answered]


def test_what_a_signal_interrupted_is_told_on_one_line(milepost, monkeypatch) -> None:
    monkeypatch.setattr(group, "main", lambda *_, **__: send(signal.SIGUSR1))
    ended = milepost("train", "options.yaml")
    assert ended.status == 75
    assert ended.err == (
        "stopped by SIGUSR1: nothing was computed yet; continue with the same command and --restart auto\n"
    )
