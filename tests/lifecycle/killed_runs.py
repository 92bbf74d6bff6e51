"""Kill training runs with SIGKILL at random moments of their processes' lives; compare what is left with the oracle.

    python tests/lifecycle/killed_runs.py --kills 500

The oracle of every set of options is one process that is left alone. A killed run is the same command again and again,
`milepost train … --restart auto`, each life ended at a moment drawn uniformly from the time that starting up and a part
of the training take; so lives end while modules of data are read, between steps, in the middle of one, of a save, of an
evaluation, of publishing. Of a run of several tasks, half of the lives end where tasks do: at a random moment after the
last step of one, while it is measured, its matrix is written, its checkpoint saved and copied, and the next one begins.

When a life gets to the end: every checkpoint, the files of tasks and the model equal those of the oracle, tensor by
tensor and bit by bit, with their options, metrics and lineage; tables, pictures and errors byte by byte; the lines of
the log, without times and without the steps that a kill took back, one by one. There is one run.

Imports are made once, in this process, which has one thread and is forked for every life. Ends with status 0 if all
that held.
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(threads, "1")

from lifecycle.experiments import Experiment, experiments
from lifecycle.left_behind import BEGUN, MEASURED, differences

ARGUMENTS = ["train", "options.yaml", "--restart", "auto", "--no-export"]
SHARE = 0.25  # of the training, beyond which no life lasts: some ten lives for a run
ALL_OF_IT = 0.8  # share of the kills that end the loader workers as well
AIMED = 0.5  # share of the kills of a run of several tasks that fall where one ends
REACH = 0.04  # seconds after the last step of a task within which those fall
MOST = 60  # kills of a run, after which it may end


@dataclass
class Figures:
    """Count what happened."""

    kills: int = 0
    runs: int = 0
    seconds: float = 0.0
    moments: Counter[str] = field(default_factory=Counter[str])
    broken: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        moments = ", ".join(f"{count} {moment}" for moment, count in sorted(self.moments.items()))
        return (
            f"{self.kills} kills of {self.runs} runs in {self.seconds:.0f} s: {moments}; "
            f"{len(self.broken)} broke the promise"
        )


@dataclass(frozen=True)
class Death:
    """Say when a life is to end: so many seconds after it began, or after it has ended so many tasks."""

    seconds: float
    tasks: int = 0


@dataclass
class Life:
    """Hold a process that runs the command, and the file descriptor that becomes readable where a task ends."""

    process: int
    signs: int

    def kill(self, death: Death, rng: random.Random) -> bool:
        """Wait for the moment, then kill the process, or it and its workers; tell whether a task had ended."""
        sign = b""
        if death.tasks:
            sign = os.read(self.signs, 1)  # nothing where the process is gone
        time.sleep(death.seconds)
        # A scheduler kills loader workers too, a system that is short of memory only one process.
        kill = os.killpg if self._in_session() and rng.random() < ALL_OF_IT else os.kill
        kill(self.process, signal.SIGKILL)
        return bool(sign)

    def status(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        os.close(self.signs)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def _in_session(self) -> bool:
        """Tell whether it has reached the session of its own."""
        try:
            return os.getpgid(self.process) == self.process
        except ProcessLookupError:
            return False


def begin(folder: Path, log: Path, tasks: int = 0) -> Life:
    """Fork a process that runs the command in a folder, in a session of its own, and gives a sign after `tasks`."""
    sys.stdout.flush()
    signs, sign = os.pipe()
    child = os.fork()
    if child:
        os.close(sign)
        return Life(child, signs)
    status = 1
    try:
        os.setsid()
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        os.chdir(folder)
        give_sign(sign, tasks)
        status = command()
    finally:
        os._exit(status)


def give_sign(sign: int, tasks: int) -> None:
    """Arrange for a byte to be written when so many tasks have taken their last step in this process."""
    from milepost.run.sequence import TaskSequence

    ended: list[int] = []

    def end(self: TaskSequence) -> dict[str, float]:
        leg = self.state.course.ended(self.state.position.step)
        if leg is not None and leg.ends:
            ended.append(leg.task)
            if len(ended) == tasks:
                os.write(sign, b"!")
        return before(self)

    before, TaskSequence.end = TaskSequence.end, end  # type: ignore[method-assign]


def command() -> int:
    """Run the command in this process; return its exit status."""
    from milepost.cli import main

    try:
        main(ARGUMENTS)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


@dataclass
class Oracle:
    """Train once without a stop, and remember what that left and how long it took."""

    experiment: Experiment
    folder: Path
    starting: float = 0.0
    seconds: float = 0.0

    def train(self) -> None:
        """Write the run and train it; raises RuntimeError where that does not end well."""
        from milepost.cli.validation import read_options

        self.folder.mkdir(parents=True)
        self.experiment.write(self.folder)
        read_options(self.folder / "options.yaml")  # here, so that every life finds the classes made
        log = self.folder / "life-000.log"
        begun = time.monotonic()
        life = begin(self.folder, log)
        while not ended(life.process):
            if not self.starting and log.exists() and BEGUN.search(log.read_text(encoding="utf-8")):
                self.starting = time.monotonic() - begun
            time.sleep(0.002)
        self.seconds = time.monotonic() - begun
        if life.status() != 0:
            raise RuntimeError(f"the oracle of '{self.experiment.name}' failed:\n{log.read_text(encoding='utf-8')}")

    def death(self, rng: random.Random) -> Death:
        """Draw a moment."""
        if self.experiment.tasks > 1 and rng.random() < AIMED:
            return Death(rng.uniform(0.0, REACH), rng.randint(1, self.experiment.tasks))
        return Death(rng.uniform(0.0, self.starting + SHARE * (self.seconds - self.starting)))


def ended(process: int) -> bool:
    """Tell whether a child has ended; its number stays its own."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def killed_run(oracle: Oracle, folder: Path, most: int, rng: random.Random, figures: Figures) -> None:
    """Start a run and kill it again and again until a life gets to its end, or `most` did not; then compare."""
    folder.mkdir(parents=True)
    oracle.experiment.write(folder)
    for number in range(most + 1):
        log = folder / f"life-{number:03d}.log"
        death = oracle.death(rng)
        life = begin(folder, log, death.tasks)
        aimed = number < most and life.kill(death, rng)
        status = life.status()
        if status != -signal.SIGKILL:
            break
        figures.kills += 1
        figures.moments[moment(folder, log, aimed=aimed)] += 1
    figures.runs += 1
    if status != 0:
        figures.broken.append(f"{oracle.experiment.name}: exit status {status}: {log.read_text(encoding='utf-8')}")
        return
    figures.broken += [f"{oracle.experiment.name}: {problem}" for problem in differences(oracle.folder, folder)]


def moment(folder: Path, log: Path, *, aimed: bool) -> str:
    """Tell what a process was doing when it was killed."""
    said = log.read_text(encoding="utf-8") if log.exists() else ""
    phase = ""
    for path in folder.glob("outputs/*/*/progress.json"):
        with contextlib.suppress(ValueError):
            phase = json.loads(path.read_text(encoding="utf-8"))["phase"]
    if not BEGUN.search(said):
        return "while starting up"
    if MEASURED.search(said) or phase == "publishing":
        return "while publishing"
    if any(folder.glob("outputs/*/*/checkpoints/.*.draft")):
        return "while saving"
    return "while a task ended" if aimed else f"while {phase}" if phase == "evaluating" else "while training"


def imported() -> None:
    """Import here, once, and not in every child, what a run needs."""
    import sklearn.datasets
    import torch
    import torch._dynamo

    import milepost.atoms.cairn
    import milepost.atoms.domain
    import milepost.cli.train
    import milepost.cli.validation
    import milepost.images.domain
    import milepost.run  # noqa: F401
    from milepost.learning import TaskMatrix
    from milepost.learning.pictures import draw_matrix
    from milepost.learning.registry import learners

    for spec in learners():
        spec.build.load()
    sklearn.datasets.load_digits()
    matrix = TaskMatrix(["one"], {"error": "min"})
    matrix.add(0, [{"error": 0.0}])
    with tempfile.TemporaryDirectory() as name:
        draw_matrix(matrix, Path(name))
    torch.set_num_threads(1)


def run(kills: int, names: str, most: int, seed: int | None, keep: Path | None) -> Figures:
    """Kill runs of the experiments whose names match, in turn, so many times in all, each at most so often."""
    from lifecycle import toy

    imported()
    rng, figures, begun = random.Random(seed), Figures(), time.monotonic()
    with contextlib.ExitStack() as stack:
        name = str(keep) if keep else stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(toy.installed(Path(name) / "installed"))
        chosen = [each for each in experiments() if re.search(names, each.name)]
        oracles = [Oracle(each, Path(name) / f"alone-{i}") for i, each in enumerate(chosen)]
        while figures.kills < kills:
            oracle = oracles[figures.runs % len(oracles)]
            if not oracle.seconds:
                oracle.train()
            before = figures.kills
            killed_run(oracle, Path(name) / f"killed-{figures.runs}", min(most, kills - before), rng, figures)
            figures.seconds = time.monotonic() - begun
            print(f"{oracle.experiment.name}: {figures.kills - before} kills; {figures}", file=sys.stderr, flush=True)
    return figures


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--only", default="", metavar="PATTERN", help="names of the sets of options, as in 'toy|plain'")
    parser.add_argument("--most", type=int, default=MOST, help="kills of a run, after which it may end")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=Path, default=None, metavar="FOLDER", help="new folder in which all runs stay")
    arguments = parser.parse_args()
    figures = run(arguments.kills, arguments.only, arguments.most, arguments.seed, arguments.keep)
    print("\n".join([*figures.broken[:10], str(figures)]))
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.exit(main())
