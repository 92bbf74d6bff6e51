"""Each kind of leak that the test suite watches for is noticed, named and undone."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from leaks import State, children, seeded, settled

LEAKS: dict[str, Callable[[], object]] = {
    "environment variable MILEPOST_LEAK: was None, is 'yes'": lambda: os.environ.update(MILEPOST_LEAK="yes"),
    "environment variable PATH: was": lambda: os.environ.pop("PATH"),
    "working directory: was": lambda: os.chdir("/"),
    "default dtype: was torch.float32, is torch.float64": lambda: torch.set_default_dtype(torch.float64),
    "deterministic algorithms: was (False, False), is (True,": lambda: torch.use_deterministic_algorithms(True),
    "threads of torch: was": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "gradients enabled: was True, is False": lambda: torch.set_grad_enabled(False),
    "matrix product precision: was 'highest', is 'high'": lambda: torch.set_float32_matmul_precision("high"),
    "handler of SIGUSR1: was": lambda: signal.signal(signal.SIGUSR1, lambda *_: None),
}


@pytest.mark.parametrize("message", LEAKS)
def test_a_leak_is_noticed_and_undone(message: str) -> None:
    before = State.now()
    LEAKS[message]()
    leaks = settled(before)
    before.restore()
    assert len(leaks) == 1, leaks
    assert leaks[0].startswith(message)
    assert before.leaks(State.now()) == []


def test_a_running_thread_is_noticed() -> None:
    before = State.now()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="left-behind")
    thread.start()
    leaks = settled(before, seconds=0.0)
    stop.set()
    thread.join()
    assert leaks == ["thread left running: left-behind"]


def test_a_child_process_is_noticed() -> None:
    assert children() == []
    before = State.now()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        leaks = settled(before, seconds=0.0)
        child.communicate(b"\n")
    assert len(leaks) == 1
    assert leaks[0].startswith(f"child process left: {child.pid} ")


def test_random_generators_are_the_same_in_every_test_and_put_back() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(()).item()

    with seeded():
        first = draw()
    outside = draw()
    assert outside == first, "the fixture seeds every test alike"
    with seeded():
        assert draw() == first
        second = draw()
        draw()
    assert draw() == second, "what was drawn inside has moved nothing outside"
