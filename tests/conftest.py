"""Run every test in a process that no other test has changed.

Before each test the global random generators are seeded; after it they are put back, and a test that left an
environment variable, a setting of torch, the working directory, a signal handler, a thread or a child process
changed fails and says which.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator

# Read when torch's compiler is first imported: compiling in this process leaves no pool of workers behind.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
# What tests compile stays out of the user's own cache.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/milepost-tests-{os.getuid()}")

# A process that runs tests for another ignores Ctrl-C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest
import torch

from leaks import State, seeded, settled

# The same examples each time, wherever the tests run, and no clock.
PROFILE = hypothesis.settings(derandomize=True, deadline=None, database=None, max_examples=50)
hypothesis.settings.register_profile("milepost", PROFILE)
hypothesis.settings.load_profile("milepost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a test that failed at once, on the terminal of the process that shows all: a run may be cut short."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        sys.__stdout__.write(f"\n{report.when} of {report.nodeid} failed after {report.duration:.0f} s\n")
        sys.__stdout__.flush()


@pytest.fixture(autouse=True)
def _process_left_as_found() -> Iterator[None]:
    before = State.now()
    with seeded():
        yield
    leaks = settled(before)
    before.restore()
    if leaks:
        pytest.fail("the test left the process changed:\n  " + "\n  ".join(leaks), pytrace=False)
