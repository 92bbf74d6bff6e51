"""Kill training runs with SIGKILL at random moments of their processes' lives; compare what is left with the oracle.

    python tests/lifecycle/killed_runs.py --kills 500

The oracle of every set of options is one process that is left alone. A killed run is the same command again and again,
`milepost train … --restart auto`, each life ended at a moment drawn uniformly from the time that starting up and a part
of the training take; so lives end while modules of data are read, between steps, in the middle of one, of a save, of an
evaluation, of publishing. When a life gets to the end: every checkpoint and the model equal those of the oracle, tensor
by tensor and bit by bit, with their options, metrics and lineage; `metrics.csv` and `errors.json` byte by byte; the
lines of the log, without times and without the steps that a kill took back, one by one. There is one run.

Imports are made once, in this process, which has one thread and is forked for every life. Ends with status 0 if all
that held.
"""

import argparse
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ARGUMENTS = ["train", "options.yaml", "--restart", "auto", "--no-export"]
SHARE = 0.25  # of the training, beyond which no life lasts: some ten lives for a run
ALL_OF_IT = 0.8  # share of the kills that end the loader workers as well
MOST_LIVES = 60  # after so many kills a run may end
LINE = re.compile(r"^\[[0-9:]+\] ((?:epoch [0-9]+  )?step ([0-9]+)/[0-9]+  .*?)(?:  \[[0-9:-]+ left\])?$")
BACK = re.compile(r"going back to 'step-([0-9]+)\.ckpt'")
BEGUN = re.compile(r"steps of [0-9]+")
CONTINUED = re.compile(r"continuing from '.*' at step ([0-9]+)$")
TRAINING: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "no average": {"ema_decay": None},
    "accumulation": {"batch_size": 2, "accumulate_batches": 3},
    "two workers": {"loader_workers": 2, "epochs": 12},
    "bfloat16": {"mixed_precision": "bfloat16"},
    "float16": {"mixed_precision": "float16"},
    "early stopping": {"early_stopping": {"patience": 12}, "evaluate_every_epochs": 2},
    "plateau": {"schedule": {"name": "plateau", "patience": 2}},
    "clipping": {"gradient_clip": 0.1, "schedule": {"name": "one_cycle"}},
    "rollback": {"on_nan": "rollback", "epochs": 12},
}
"""Sets of training options, by name."""
TOY_ALONE = ("bfloat16", "float16", "rollback")  # structures are not trained in 16 bits, and none of theirs is bad


@dataclass(frozen=True)
class Experiment:
    """Name a set of options; `write` puts them into a folder, with the data that they need."""

    name: str
    write: Callable[[Path], object]


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


def experiments() -> list[Experiment]:
    """List all sets of options, of the toy domain and of structures."""
    import yaml

    from lifecycle import toy
    from lifecycle.runs import OPTIONS, write_run

    def toy_run(training: Mapping[str, Any]) -> Callable[[Path], object]:
        given = {"epochs": 24, "log_every_steps": 7, **training}
        bad = {"poisoned": [5]} if "on_nan" in training else {}
        saving = {"every_steps": 3 if bad else 5}  # before the first bad example comes
        return lambda folder: toy.write_options(folder, training=given, checkpoints=saving, **bad)

    def structures(training: Mapping[str, Any]) -> Callable[[Path], object]:
        options = yaml.safe_load(OPTIONS)
        options["architecture"]["training"] |= {"epochs": 16, "log_every_steps": 3, **training}
        return lambda folder: write_run(folder, yaml.safe_dump(options))

    return [
        Experiment(f"{domain}: {name}", make(training))
        for name, training in TRAINING.items()
        for domain, make in {"toy": toy_run, "structures": structures}.items()
        if domain == "toy" or name not in TOY_ALONE
    ]


def begin(folder: Path, log: Path) -> int:
    """Fork a process that runs the command in a folder, in a session of its own; return its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        os.chdir(folder)
        status = command()
    finally:
        os._exit(status)


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
        child = begin(self.folder, log)
        while not (done := os.waitpid(child, os.WNOHANG))[0]:
            if not self.starting and log.exists() and BEGUN.search(log.read_text(encoding="utf-8")):
                self.starting = time.monotonic() - begun
            time.sleep(0.002)
        self.seconds = time.monotonic() - begun
        if os.waitstatus_to_exitcode(done[1]) != 0:
            raise RuntimeError(f"the oracle of '{self.experiment.name}' failed:\n{log.read_text(encoding='utf-8')}")

    @property
    def longest(self) -> float:
        """The longest that a killed process lives."""
        return self.starting + SHARE * (self.seconds - self.starting)


def killed_run(oracle: Oracle, folder: Path, most: int, rng: random.Random, figures: Figures) -> None:
    """Start a run and kill it again and again until a life gets to its end, or `most` did not; then compare."""
    folder.mkdir(parents=True)
    oracle.experiment.write(folder)
    for number in range(MOST_LIVES + 1):
        log = folder / f"life-{number:03d}.log"
        child = begin(folder, log)
        if number < min(most, MOST_LIVES):
            time.sleep(rng.uniform(0.0, oracle.longest))
            # A scheduler kills loader workers too, a system that is short of memory only one process.
            kill = os.killpg if in_session(child) and rng.random() < ALL_OF_IT else os.kill
            kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            break
        figures.kills += 1
        figures.moments[moment(folder, log)] += 1
    figures.runs += 1
    if status != 0:
        figures.broken.append(f"{oracle.experiment.name}: exit status {status}: {log.read_text(encoding='utf-8')}")
        return
    figures.broken += [f"{oracle.experiment.name}: {problem}" for problem in differences(oracle.folder, folder)]


def in_session(child: int) -> bool:
    """Tell whether a child has reached the session of its own."""
    try:
        return os.getpgid(child) == child
    except ProcessLookupError:
        return False


def moment(folder: Path, log: Path) -> str:
    """Tell what a process was doing when it was killed."""
    said = log.read_text(encoding="utf-8") if log.exists() else ""
    if not BEGUN.search(said):
        return "while starting up"
    if "errors on the" in said:
        return "while publishing"
    return "while saving" if any(folder.glob("outputs/*/*/checkpoints/.*.draft")) else "while training"


def differences(alone: Path, killed: Path) -> Iterator[str]:
    """Say how a killed run differs from the oracle."""
    from lifecycle.runs import differing

    if len(found := list(killed.glob("outputs/*/*/run.json"))) != 1:
        yield f"expected one run, found {found}"
        return
    (one,), (other,) = (list(folder.glob("outputs/*/*/run.json")) for folder in (alone, killed))
    for name in ("metrics.csv", "errors.json", "options.yaml"):
        if one.with_name(name).read_bytes() != other.with_name(name).read_bytes():
            yield f"{name} differs"
    files = [[*sorted(path.parent.glob("checkpoints/*.ckpt"))] for path in (one, other)]
    names = [[path.name for path in listed] for listed in files]
    if names[0] != names[1]:
        yield f"expected the checkpoints {names[0]}, found {names[1]}"
        return
    for a, b in zip([*files[0], alone / "model.ckpt"], [*files[1], killed / "model.ckpt"], strict=True):
        yield from (f"{b.name}: {where}" for where in differing(contents(a), contents(b)))
    if drafts := [path.name for path in killed.rglob(".*.draft")]:
        yield f"drafts were left: {drafts}"
    lines = [merged_log(folder) for folder in (alone, killed)]
    if not lines[0]:
        yield "the log has no lines to compare"
    if lines[0] != lines[1]:
        wrong = [pair for pair in zip(*lines, strict=False) if pair[0] != pair[1]]
        yield f"the log has {len(lines[1])} lines, expected {len(lines[0])}; first difference: {wrong[:1]}"


def contents(path: Path) -> dict[str, object]:
    """Read all of a checkpoint but who wrote it and when."""
    from milepost.checkpoint import load_checkpoint

    with load_checkpoint(path) as checkpoint:
        record = checkpoint.record
        told = {
            "step": record.step,
            "epoch": record.epoch,
            "metrics": dict(record.metrics),
            "metadata": dict(record.metadata),
            "environment": dict(record.environment),
            "lineage": [(segment.step, dict(segment.environment)) for segment in record.lineage],
            "options": checkpoint.options_yaml,
        }
        return {name: checkpoint.state(name) for name in checkpoint.components} | {"record": told}


def merged_log(folder: Path) -> list[str]:
    """Put together what all lives said of steps and evaluations, without what was taken back later."""
    merged: list[tuple[int, str]] = []
    for log in sorted(folder.glob("life-*.log")):
        lines = log.read_text(encoding="utf-8").splitlines()
        if not any(BEGUN.search(line) for line in lines):
            continue
        first = 0
        for line in lines:
            if BEGUN.search(line) or BACK.search(line):
                back = BACK.search(line)
                kept = int(back[1]) if back else first
                merged = [(step, text) for step, text in merged if step <= kept]
            elif match := CONTINUED.search(line):
                first = int(match[1])
            elif match := LINE.match(line):
                merged.append((int(match[2]), match[1]))
    return [line for _, line in merged]


def run(kills: int, names: str = "", seed: int | None = None) -> Figures:
    """Kill runs of the experiments whose names match, in turn, so many times."""
    # Imported once, here, and not in every child.
    import torch
    import torch._dynamo

    import milepost.atoms.cairn
    import milepost.cli.train
    import milepost.cli.validation
    import milepost.run  # noqa: F401
    from lifecycle import toy

    torch.set_num_threads(1)
    rng, figures, begun = random.Random(seed), Figures(), time.monotonic()
    with tempfile.TemporaryDirectory() as name, toy.installed(Path(name) / "installed"):
        chosen = [each for each in experiments() if re.search(names, each.name)]
        oracles = [Oracle(each, Path(name) / f"alone-{i}") for i, each in enumerate(chosen)]
        while figures.kills < kills:
            oracle = oracles[figures.runs % len(oracles)]
            if not oracle.seconds:
                oracle.train()
            before = figures.kills
            killed_run(oracle, Path(name) / f"killed-{figures.runs}", kills - figures.kills, rng, figures)
            figures.seconds = time.monotonic() - begun
            print(f"{oracle.experiment.name}: {figures.kills - before} kills; {figures}", file=sys.stderr, flush=True)
    return figures


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--only", default="", metavar="PATTERN", help="names of the sets of options, as in 'toy|plain'")
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    figures = run(arguments.kills, arguments.only, arguments.seed)
    print("\n".join([*figures.broken[:10], str(figures)]))
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
