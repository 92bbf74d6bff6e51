"""Do to a run whatever can be done to it, in any order, and compare it with one that was left alone.

    python tests/lifecycle/state_machine.py --examples 2000

Rules: train some steps and stop; die in the middle of a step; die at any call to the file system; damage the newest
checkpoint; ask for more epochs, or tasks; save more or less often, keep more or fewer. Before and after each: the
newest sound checkpoint loads, and its state is that of the oracle at its step, to the last bit; nothing that was
committed is lost but what was damaged; `metrics.csv` begins like the oracle's. At the end the run is like the oracle.

There are two subjects: a run on one data set, and a run of three tasks that replays examples out of a small reservoir,
so that steps depend on what it holds and on what was drawn from it.

The oracle is one process of the longest length there is, which saved at every step. One serves all lengths: the
learning rate follows the metrics (`plateau`) and not the length of the run.
"""

import argparse
import contextlib
import functools
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from lifecycle import toy
from lifecycle.lives import Life, die_in_file_system, die_in_step, live
from lifecycle.runs import differing, training_state
from milepost.checkpoint import load_checkpoint, newest_verified
from milepost.learning import TaskMatrix, pictures

SCHEDULE = {"name": "plateau", "patience": 1, "warmup_steps": 3}
MOST_CALLS = 80  # of a life to the file system: some five saves


@dataclass(frozen=True, eq=False)
class Subject:
    """Describe a run whose length is an option that may change while it goes on."""

    epochs: int
    steps_per_epoch: int
    length: str
    shortest: int
    longest: int
    steps_of_one: int
    root: Mapping[str, Any]

    def write(self, folder: Path, **checkpoints: Any) -> None:
        """Write its options into a folder."""
        given = {"epochs": self.epochs, "schedule": SCHEDULE}
        toy.write_options(folder, training=given, checkpoints=checkpoints, **self.root)


PLAIN = Subject(2, 6, "architecture.training.epochs", shortest=2, longest=4, steps_of_one=6, root={})
TASKS = Subject(
    3, 2, "course.stop_after", shortest=1, longest=3, steps_of_one=6,
    root={"parts": 3, "learner": {"name": "er", "buffer_size": 9, "minibatch_size": 3}},
)  # fmt: skip


@dataclass(frozen=True)
class Oracle:
    """Hold the state after every step of a run that was left alone, its metrics, and where it was computed."""

    subject: Subject
    states: dict[int, dict[str, Any]]
    rows: tuple[str, ...]
    lineage: tuple[Any, ...]

    def metrics(self, step: int) -> str:
        """Return what `metrics.csv` holds after a step."""
        evaluated = step // self.subject.steps_per_epoch
        return "".join(self.rows[: 1 + evaluated]) if evaluated else ""


@functools.cache
def oracle(subject: Subject) -> Oracle:
    """Train once to the longest length, without a stop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject.write(folder, every_steps=1, keep_last=99)
        ended = live(folder, f"{subject.length}={subject.longest}")
        if ended.outcome != "finished":
            raise RuntimeError(f"expected the oracle to finish, found it {ended.outcome}")
        (directory,) = folder.glob("outputs/*/*")
        states = {number(path): training_state(path) for path in directory.glob("checkpoints/*.ckpt")}
        with load_checkpoint(folder / "model.ckpt") as checkpoint:
            lineage = checkpoint.record.lineage
        rows = (directory / "metrics.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    return Oracle(subject, states, tuple(rows), lineage)


def number(path: Path) -> int:
    """Read the step off a checkpoint's name."""
    return int(path.stem.rpartition("-")[2])


class RunMachine(RuleBasedStateMachine):
    """One run, and what is known of it: the step up to which it is safe, and the options in force."""

    subject: ClassVar[Subject] = PLAIN

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.oracle = oracle(self.subject)
        self.length = self.subject.shortest
        self.options: dict[str, int] = {}
        self.safe: int | None = None
        self.damaged = False

    @initialize()
    def begin(self) -> None:
        """Write the options."""
        self.subject.write(self.folder)

    def teardown(self) -> None:
        """Finish the run and compare it with the oracle; leave nothing behind."""
        try:
            if (self.folder / "options.yaml").exists():
                self.finish()
        finally:
            shutil.rmtree(self.folder)

    @rule(steps=st.integers(1, 9))
    def train(self, steps: int) -> None:
        """Train some steps and stop at the boundary of one, which saves; or reach the end before."""
        begun = self.newest() or 0
        life = self.live(steps=steps)
        assert (life.outcome, life.step) == self.expected(begun + steps)
        self.safe = life.step
        self.damaged = False

    @rule(step=st.integers(1, 9))
    def die_in_the_middle_of_a_step(self, step: int) -> None:
        """Die when the weights have changed and nothing else has."""
        begun = self.newest() or 0
        life = self.live(fate=functools.partial(die_in_step, step))
        assert life.died == (begun + step <= self.end)
        self.survived(life)

    @rule(call=st.integers(1, MOST_CALLS))
    def die_in_a_save(self, call: int) -> None:
        """Die at a call to the file system: within a commit, before or after it, or while older files are retired."""
        self.survived(self.live(fate=functools.partial(die_in_file_system, call)))

    @precondition(lambda self: self.newest() is not None)
    @rule(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
    def damage_the_newest(self, where: float, bit: int, cut: bool) -> None:
        """Flip a bit of the newest checkpoint, or cut it short."""
        path = self.path_of(self.newest())
        data = bytearray(path.read_bytes())
        place = int(where * len(data))
        if cut:
            del data[place:]
        else:
            data[place] ^= 1 << bit
        path.write_bytes(data)
        assert self.newest() != number(path), "damage is seen"
        self.safe, self.damaged = self.newest(), True

    @precondition(lambda self: self.length < self.subject.longest)
    @rule()
    def ask_for_more(self) -> None:
        """Change an allowed option: an epoch more, or a task."""
        self.length += 1

    @rule(every=st.integers(1, 5), keep=st.integers(1, 4))
    def save_otherwise(self, every: int, keep: int) -> None:
        """Change free options."""
        self.options = {"checkpoints.every_steps": every, "checkpoints.keep_last": keep}

    @invariant()
    def the_newest_sound_checkpoint_is_the_oracles(self) -> None:
        """Load it and compare it; nothing that was safe is gone."""
        step = self.newest()
        assert (step is None) == (self.safe is None)
        if step is None or self.safe is None:
            return
        assert step >= self.safe
        assert differing(training_state(self.path_of(step)), self.oracle.states[step]) == []

    @property
    def end(self) -> int:
        """The last step of the run as it is asked for now."""
        return self.length * self.subject.steps_of_one

    def expected(self, step: int) -> tuple[str, int]:
        """Say how a life ends that is asked to stop after a step; after the last one, publishing is for the next."""
        return ("stopped", step) if step <= self.end else ("finished", self.end)

    def live(self, **how: Any) -> Life:
        """Let the run live, and check that it goes on from the newest sound checkpoint and writes the oracle's rows."""
        newest = self.newest()
        options = {self.subject.length: self.length, **self.options}
        life = live(self.folder, *(f"{key}={value}" for key, value in options.items()), **how)
        if any("steps of" in line for line in life.lines):
            assert life.began_at == newest
        self.compare_metrics()
        return life

    def survived(self, life: Life) -> None:
        """After a death, or the end where death came too late: what was safe is, and what is new may be."""
        if not life.died:
            assert (life.outcome, life.step) == ("finished", self.end)
        self.safe, self.damaged = self.newest(), self.damaged and life.died

    def compare_metrics(self) -> None:
        """Compare `metrics.csv` with the oracle's up to the newest checkpoint, and whole where it has no more rows."""
        for path in self.folder.glob("outputs/*/*/metrics.csv"):
            text, whole = path.read_text(encoding="utf-8"), "".join(self.oracle.rows)
            assert whole.startswith(text.rpartition("\n")[0])
            assert text.startswith(self.oracle.metrics(self.newest() or 0))

    def finish(self) -> None:
        """Leave the run alone until it ends: nothing shows of what was done to it."""
        life = live(self.folder, f"{self.subject.length}={self.length}")
        assert (life.outcome, life.step) == ("finished", self.end)
        (directory,) = self.directories()
        assert (directory / "metrics.csv").read_text(encoding="utf-8") == self.oracle.metrics(self.end)
        assert differing(training_state(self.path_of(self.end)), self.oracle.states[self.end]) == []
        matrix = TaskMatrix.read(directory)
        assert (None if matrix is None else matrix.state_dict()) == self.oracle.states[self.end].get("matrix")
        with load_checkpoint(self.folder / "model.ckpt") as model:
            assert model.record.lineage == self.oracle.lineage
            step = model.record.step
        assert differing(training_state(self.folder / "model.ckpt"), self.oracle.states[step]) == []
        assert not list(self.folder.rglob(".*.draft"))

    def directories(self) -> list[Path]:
        """List the directories of runs; one whose process died before it had its record is none."""
        return [path.parent for path in self.folder.glob("outputs/*/*/run.json")]

    def newest(self) -> int | None:
        """Return the step of the newest sound checkpoint."""
        assert len(self.directories()) <= 1, "one run, one directory"
        found = [newest_verified(directory / "checkpoints")[0] for directory in self.directories()]
        return number(found[0]) if found and found[0] is not None else None

    def path_of(self, step: int | None) -> Path:
        """Return the checkpoint of a step."""
        (path,) = self.folder.glob(f"outputs/*/*/checkpoints/step-{step:08d}.ckpt")
        return path


class TaskMachine(RunMachine):
    """A run of several tasks."""

    subject = TASKS


MACHINES: dict[str, type[RunMachine]] = {"one data set": RunMachine, "tasks": TaskMachine}


@contextlib.contextmanager
def without_pictures() -> Iterator[None]:
    """Draw nothing: that takes longer than all else."""
    before, pictures.draw_matrix = pictures.draw_matrix, lambda matrix, folder: ()
    try:
        yield
    finally:
        pictures.draw_matrix = before


def explore(
    machine: type[RunMachine], examples: int, steps: int, *, derandomize: bool = True, shrink: bool = False
) -> None:
    """Run a machine so often, with so many rules each time; raises what breaks, with the way there."""
    with tempfile.TemporaryDirectory() as name, toy.installed(Path(name)), without_pictures():
        machine.subject.write(Path(name))
        toy.run(Path(name))  # here, so that every life finds everything imported
        oracle(machine.subject)
        run_state_machine_as_test(
            machine,
            settings=hypothesis.settings(
                max_examples=examples,
                stateful_step_count=steps,
                derandomize=derandomize,
                deadline=None,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
                # To look for the shortest way takes minutes.
                phases=[hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if shrink else [])],
            ),
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--only", choices=MACHINES, default=None, help="what kind of run; all where none is named")
    arguments = parser.parse_args()
    for name, machine in MACHINES.items():
        if arguments.only in (None, name):
            explore(machine, arguments.examples, arguments.steps, derandomize=False, shrink=True)
            print(f"{name}: {arguments.examples} examples of up to {arguments.steps} steps: no difference", flush=True)


if __name__ == "__main__":
    main()
