"""Notice what a test leaves changed in the process that runs it.

`State.now()` reads everything that a test could leave behind; `earlier.leaks(later)` says in words what
differs. Random generators are not compared: drawing numbers is no leak. `seeded()` gives every test the same
generators and puts the old ones back.
"""

import contextlib
import functools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

# What other programs write into the environment of the process that they run in.
ENVIRONMENT_OF_OTHERS = frozenset(
    {
        "PYTEST_CURRENT_TEST",
        "TORCHINDUCTOR_CACHE_DIR",  # torch's compiler, once it has chosen a place
        "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR",  # torch's compiler, for the code that it loads
        "PYTORCH_NVML_BASED_CUDA_CHECK",  # Lightning, when it is first imported
    }
)
# Python keeps this process until exit once shared memory was used.
PROCESSES_OF_OTHERS = ("multiprocessing.resource_tracker",)
# torch's compiler shows its progress with tqdm, whose monitor lives until exit.
LASTING = frozenset({"tqdm_monitor"})
# Not SIGALRM: its handler is what ends a test that hangs, and is there only as long as the test is not over.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
SEED = 20260101


@dataclass(frozen=True)
class State:
    """What a test must leave as it found it."""

    settings: MappingProxyType[str, object]
    environment: MappingProxyType[str, str]
    threads: frozenset[threading.Thread]
    children: frozenset[int]

    @classmethod
    def now(cls) -> "State":
        """Read the state of this process."""
        environment = {key: value for key, value in os.environ.items() if key not in ENVIRONMENT_OF_OTHERS}
        return cls(
            MappingProxyType({name: setting.read() for name, setting in SETTINGS.items()}),
            MappingProxyType(environment),
            frozenset(thread for thread in threading.enumerate() if thread.is_alive() and thread.name not in LASTING),
            frozenset(children()),
        )

    def leaks(self, later: "State") -> list[str]:
        """Say what `later` has that this state had not, one line for each."""
        found = [
            f"{name}: was {before!r}, is {later.settings[name]!r}"
            for name, before in self.settings.items()
            if later.settings[name] != before
        ]
        for name in sorted(self.environment.keys() | later.environment.keys()):
            before, after = self.environment.get(name), later.environment.get(name)
            if before != after:
                found.append(f"environment variable {name}: was {before!r}, is {after!r}")
        found += [f"thread left running: {thread.name}" for thread in later.threads - self.threads]
        found += [f"child process left: {pid} {command(pid)}" for pid in sorted(later.children - self.children)]
        return found

    def restore(self) -> None:
        """Put settings and environment back, so that one leak is reported by one test only."""
        for name in os.environ.keys() - self.environment.keys() - ENVIRONMENT_OF_OTHERS:
            del os.environ[name]
        os.environ.update(self.environment)
        for name, setting in SETTINGS.items():
            if setting.read() != self.settings[name]:
                setting.write(self.settings[name])


@dataclass(frozen=True)
class Setting:
    """A global setting: how it is read, and how it is put back."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


SETTINGS: dict[str, Setting] = {
    "working directory": Setting(os.getcwd, os.chdir),
    "default dtype": Setting(torch.get_default_dtype, torch.set_default_dtype),
    "default device": Setting(torch.get_default_device, torch.set_default_device),
    "deterministic algorithms": Setting(
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    "threads of torch": Setting(torch.get_num_threads, torch.set_num_threads),
    "gradients enabled": Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    "matrix product precision": Setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "cudnn benchmark": Setting(
        lambda: torch.backends.cudnn.benchmark,
        lambda value: setattr(torch.backends.cudnn, "benchmark", value),
    ),
    "cudnn deterministic": Setting(
        lambda: torch.backends.cudnn.deterministic,
        lambda value: setattr(torch.backends.cudnn, "deterministic", value),
    ),
    **{
        f"handler of {number.name}": Setting(
            functools.partial(signal.getsignal, number), functools.partial(signal.signal, number)
        )
        for number in SIGNALS
    },
}


def children() -> list[int]:
    """List this process's children that nobody has waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _is_child(entry)]
    return [pid for pid in found if not any(name in command(pid) for name in PROCESSES_OF_OTHERS)]


def _is_child(entry: Path) -> bool:
    try:
        after_name = (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended while we looked
    return int(after_name[1]) == os.getpid()


def command(pid: int) -> str:
    """Return the command line of a process, or nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def settled(before: State, seconds: float = 2.0) -> list[str]:
    """Return the leaks since `before`; what is on its way out has `seconds` to go."""
    end = time.monotonic() + seconds
    while leaks := before.leaks(State.now()):
        leaving = any(line.startswith(("thread left", "child process")) for line in leaks)
        if not leaving or time.monotonic() > end:
            break
        time.sleep(0.02)
    return leaks


@contextlib.contextmanager
def seeded(seed: int = SEED) -> Iterator[None]:
    """Seed every global random generator, and put the old states back at the end."""
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
