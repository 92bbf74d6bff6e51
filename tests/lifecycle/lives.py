"""Let runs of the toy live and die in processes of their own, forked from one that has imported everything.

A life is what a user's command would be: it finds where to start, trains, and ends by being asked to stop, by reaching
the end, or by dying on the spot: in the middle of a step, or at one of the calls to the file system that saving makes.
Dying is `os._exit`: nothing is cleaned up, no thread is waited for, as after SIGKILL.
"""

import functools
import json
import os
import signal
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # here, or every life would import it with its first step

from lifecycle import toy
from milepost.archive import FileSystem
from milepost.run.session import TrainingState

DIED = 86
"""Exit status of a life that died on the spot."""
FAILED = 1


@dataclass(frozen=True)
class Life:
    """Hold how a life ended: its exit status, what the run told at its end, and what it said."""

    status: int
    outcome: str
    step: int
    lines: tuple[str, ...]

    @property
    def died(self) -> bool:
        """Whether it died on the spot."""
        return self.status == DIED

    @property
    def began_at(self) -> int | None:
        """Return the step that it continued from, None where it started afresh."""
        found = [line.rpartition(" ")[2] for line in self.lines if line.startswith("continuing from")]
        return int(found[0]) if found else None


class Told(toy.Log):
    """Write what is said to a file at once, and ask the run to stop after a number of steps of this life."""

    def __init__(self, path: Path, steps: int | None) -> None:
        super().__init__()
        self.path, self.left = path, steps

    def say(self, message: str) -> None:
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(message) + "\n")

    def step(self, done: int) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGTERM)


def die_in_step(count: int) -> None:
    """Arrange for death in the middle of the `count`-th step of this process, when nothing but the weights changed."""
    left = iter(range(count - 1, -1, -1))

    def apply(self: TrainingState, *given: Any, **named: Any) -> None:
        if next(left, 1) == 0:
            self.optimizer.step()
            os._exit(DIED)
        before(self, *given, **named)

    before, TrainingState.apply = TrainingState.apply, apply  # type: ignore[method-assign]


def die_in_file_system(count: int) -> None:
    """Arrange for death just before the `count`-th call to the file system that this process makes for writing."""
    left = iter(range(count - 1, -1, -1))

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def wrapper(*given: Any) -> Any:
            if next(left, 1) == 0:
                os._exit(DIED)
            return call(*given)

        return wrapper

    for name, call in vars(FileSystem).items():
        if not name.startswith("_"):
            setattr(FileSystem, name, dying(call))


def live(
    folder: Path,
    *overrides: str,
    steps: int | None = None,
    fate: Callable[[], None] = lambda: None,
) -> Life:
    """Start or continue the run in a folder, in a process of its own, for so many steps or to the end.

    `fate` is called in that process before anything is read. Raises RuntimeError where the run failed.
    """
    said, ended = folder / "said", folder / "ended"
    for path in (said, ended):
        path.unlink(missing_ok=True)
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork beside threads: the child calls nothing that they may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _live(folder, overrides, Told(said, steps), ended, fate)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = tuple(map(json.loads, said.read_text("utf-8").splitlines())) if said.exists() else ()
    if status not in (0, DIED):
        told = ended.read_text("utf-8") if ended.exists() else ""
        raise RuntimeError(f"the run ended with status {status}:\n{told}\n" + "\n".join(lines))
    told = json.loads(ended.read_text("utf-8")) if status == 0 else {"outcome": "died", "step": -1}
    return Life(status, told["outcome"], told["step"], lines)


def _live(folder: Path, overrides: tuple[str, ...], told: Told, ended: Path, fate: Callable[[], None]) -> None:
    status = FAILED
    try:
        torch.set_num_threads(1)  # the threads of the parent are not here
        fate()
        result = toy.run(folder, *overrides, reporter=told)
        ended.write_text(json.dumps({"outcome": result.outcome, "step": result.step}), encoding="utf-8")
        status = 0
    except BaseException:  # noqa: BLE001 - told by the parent
        ended.write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(status)
