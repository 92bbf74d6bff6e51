"""Ask a training run to stop with SIGTERM at random moments, while it saves after every step.

    python tests/faults/stopped_runs.py --stops 1000

One run is started, stopped, and continued with `--restart auto`, again and again; each time in a process of its own,
which runs the `train` command. After each stop: exit status 75, no draft left, every checkpoint sound, the newest one
at the step that the run says it stopped at and never behind the stop before.
Ends with status 0 if that always held. Imports are made once; only this process, which has one thread, is forked.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ARGUMENTS = ["train", "options.yaml", "--restart", "auto", "--no-export"]
LONGEST = 0.25  # seconds from a save to the signal: some ten steps, each with a save
EARLY = 0.1  # share of the signals that come sooner, before this process has saved
STOPPED = 75


@dataclass
class Figures:
    """Count what happened."""

    stops: int = 0
    steps: int = 0
    saves_interrupted: int = 0
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter[int])
    broken: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        return (
            f"{self.stops} stops in {self.seconds:.0f} s over {self.steps} steps, exit statuses {dict(self.statuses)}, "
            f"{self.saves_interrupted} signals came while a draft was being written, "
            f"{len(self.broken)} broke the promise"
        )


def train(folder: Path, errors: int) -> int:
    """Run the command in this process, which is a child; return its exit status."""
    from milepost.cli import main

    os.dup2(errors, sys.stderr.fileno())
    os.chdir(folder)
    try:
        main(ARGUMENTS)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def latest(folder: Path) -> list[int]:
    """Tell one save from the next: when the hint `latest` was written."""
    return [path.stat().st_mtime_ns for path in folder.glob("outputs/*/*/checkpoints/latest")]


def over(child: int) -> bool:
    """Tell whether a process has ended; its status is still to be had."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def stopped_once(folder: Path, after: float, early: bool, figures: Figures) -> int:
    """Start or continue the run, send SIGTERM after seconds of saving; return the exit status, negative if killed."""
    before = latest(folder)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(train(folder, writing))
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        said = ""
        for line in lines:
            said += line
            if "steps of" in line:
                break
        while not early and latest(folder) == before and not over(child):
            time.sleep(0.002)
        time.sleep(after)
        figures.saves_interrupted += any(folder.glob("outputs/*/*/checkpoints/.*.draft"))
        os.kill(child, signal.SIGTERM)
        said += lines.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, STOPPED):
        figures.broken.append(f"exit status {status}: {said[-2000:]}")
    return status


def problems_after_a_stop(folder: Path, before: int) -> tuple[int, list[str]]:
    """Return the step that the run is at, and how the promise is broken; the stop before was at step `before`."""
    from faults.sequence import strangers
    from milepost.archive import is_draft
    from milepost.checkpoint import list_checkpoints, newest_verified

    runs = list(folder.glob("outputs/*/*"))
    if len(runs) != 1:
        return before, [f"expected one run, found {runs} in {list(folder.iterdir())}"]
    record, checkpoints = json.loads((runs[0] / "run.json").read_text()), runs[0] / "checkpoints"
    newest, damaged = newest_verified(checkpoints, record["run_id"])
    entries = list_checkpoints(checkpoints, verify=True)
    step = entries[-1].step if newest else 0
    found = [str(entry) for entry in damaged] + [str(entry) for entry in entries if not entry.verified]
    found += [f"{path.name} was left" for path in [*strangers(checkpoints), *filter(is_draft, checkpoints.iterdir())]]
    if record["state"] != "stopped" or record["step"] != step:
        found.append(f"the run says {record['state']} at step {record['step']}, the newest checkpoint has step {step}")
    if step < before:
        found.append(f"the run went back from step {before} to {step}")
    return step, found


def run(stops: int, seed: int | None = None) -> Figures:
    """Stop a run so many times and check the promise after each."""
    # Imported once, here, and not in every child.
    import torch._dynamo  # noqa: F401

    import milepost.atoms.cairn
    import milepost.cli.train
    import milepost.cli.validation
    import milepost.run.training  # noqa: F401
    from lifecycle.runs import OPTIONS, write_run

    options = OPTIONS.replace("epochs: 6", "epochs: 1000000").replace("every_steps: 3", "every_steps: 1")
    rng, figures, begin = random.Random(seed), Figures(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder, options)
        while figures.stops < stops:
            status = stopped_once(folder, rng.uniform(0, LONGEST), rng.random() < EARLY, figures)
            figures.steps, found = problems_after_a_stop(folder, figures.steps)
            figures.stops += 1
            figures.statuses[status] += 1
            figures.broken += [f"stop {figures.stops}: {problem}" for problem in found]
            figures.seconds = time.monotonic() - begin
            if figures.stops % 100 == 0:
                print(figures, file=sys.stderr, flush=True)
    return figures


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    figures = run(arguments.stops, arguments.seed)
    print("\n".join([*figures.broken[:10], str(figures)]))
    return 1 if figures.broken or set(figures.statuses) != {STOPPED} else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
