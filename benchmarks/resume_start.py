"""Measure the time from the start of a process to its first new step, for runs with more and more behind them.

A run of 200 frames is started, saved and killed; copies of it are given more steps, the log that belongs to them, and
more checkpoints, through Milepost's own functions. Each is continued with `milepost train --restart auto`, timed until
the line of its first step appears, and killed. Beside it: `import torch`, and that with the same model built. All of it
is run by turns; ratios are medians of the ratios within a turn. The first turn fills the file cache and is not counted.

Processor time (user and system, of the process until it is killed) is given beside the wall clock: it says the most on
a machine that does other things too. Needs Milepost's environment. Printed by `resume.py --only start`.
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import protocol
from processes import HERE
from resume_compare import growth
from resume_programs import SAVE_NOWHERE_ELSE, STEPS_PER_EPOCH, environment, experiment, kill_when

from milepost.checkpoint import checkpoint_name, load_checkpoint, save_checkpoint
from milepost.run.metrics_log import MetricsLog

FIRST = 10
STEPS = (FIRST, 1_000, 100_000)
MANY = 200
"""Checkpoints of the run that has many."""
READY = re.compile(r"\bstep \d+/")
TORCH = "import sys, torch\nprint('step 0/', file=sys.stderr)"
MODEL = (
    "import sys, torch\nfrom milepost.atoms.cairn.model import Cairn\n"
    "Cairn(species=3, cutoff=5.0, features=16, layers=2, radial_functions=11, average_neighbors=8.0)\n"
    "print('step 0/', file=sys.stderr)"
)
REFERENCE = "import torch, build the model"


@dataclass(frozen=True)
class Case:
    """Name a command, the folder it runs in, and what lies behind the run."""

    name: str
    command: Sequence[str | Path]
    folder: Path
    steps: int = 0
    checkpoints: int = 0


@dataclass(frozen=True)
class Spent:
    """Hold the seconds until the first new step: by the clock, and of processor time."""

    wall: float
    processor: float


def command(parts: protocol.Division) -> list[str | Path]:
    """Return the command that starts the run, and that continues it."""
    start: list[str | Path] = [Path(sys.executable).parent / "milepost", "train", HERE / "milepost.yaml", "--no-export"]
    limits = ("architecture.training.steps=1000000", "architecture.training.log_every_steps=1")
    keep = (f"checkpoints.every_steps={FIRST}", "checkpoints.keep_last=1000000", *SAVE_NOWHERE_ELSE)
    for override in (*experiment(parts), *limits, *keep):
        start += ["-r", override]
    return [*start, "--restart", "auto"]


def the_run(folder: Path) -> Path:
    """Return the directory of the only run in a folder."""
    return next(folder.glob("outputs/*/*/run.json")).parent


def put_behind(run: Path, steps: int, checkpoints: int = 1) -> None:
    """Rewrite a run of one checkpoint as if so many steps lay behind it, the last of them saved one by one."""
    (path,) = (run / "checkpoints").glob("*.ckpt")
    with load_checkpoint(path) as saved:
        state = {name: saved.state(name) for name in saved.components}
        record, options, source = saved.record, saved.options_yaml, saved.source
    path.unlink()
    log = MetricsLog(run / "metrics.csv")
    for epoch in range(1, steps // STEPS_PER_EPOCH + 1):
        log.append({"step": epoch * STEPS_PER_EPOCH, "epoch": epoch, "training/loss": 0.1, "validation/loss": 0.2})
    state["metrics"] = log.state_dict()
    for step in range(steps - checkpoints + 1, steps + 1):
        save_checkpoint(
            path.with_name(checkpoint_name(step)),
            {**state, "position": {**state["position"], "step": step}},
            options_yaml=options,
            record=replace(record, step=step, epoch=step // STEPS_PER_EPOCH),
            source=source,
            durability="process",
        )


def prepare(parts: protocol.Division, folder: Path) -> list[Case]:
    """Make the runs, and list what is timed."""
    start, first = command(parts), folder / f"{FIRST}"
    first.mkdir(parents=True)
    saved = f"outputs/*/*/checkpoints/{checkpoint_name(FIRST)}"
    kill_when(start, first / "first.log", lambda: any(first.glob(saved)))
    for later in (the_run(first) / "checkpoints").glob("*.ckpt"):
        if later.name != checkpoint_name(FIRST):  # saved between the look and the kill
            later.unlink()
    python = Path(sys.executable)
    cases = [Case("import torch", [python, "-c", TORCH], folder), Case(REFERENCE, [python, "-c", MODEL], folder)]
    for steps, checkpoints in (*((steps, 1) for steps in STEPS), (STEPS[-1], MANY)):
        place = folder / f"{steps}-{checkpoints}"
        shutil.copytree(first, place)
        put_behind(the_run(place), steps, checkpoints)
        cases.append(Case("milepost train --restart auto", start, place, steps, checkpoints))
    return cases


def until_first_step(case: Case) -> Spent:
    """Run a command until the line that says that it is ready, then kill it."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in case.command],
        cwd=case.folder,
        env={**os.environ, **environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    output: list[str] = []
    for line in process.stderr or ():
        output.append(line)
        if READY.search(line):
            break
    wall = time.perf_counter() - begin
    os.kill(process.pid, signal.SIGKILL)  # not Popen's, which would reap the child and its times with it
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    if process.stderr is not None:
        process.stderr.close()
    if not output or not READY.search(output[-1]):
        raise SystemExit(f"{case.name} ended before its first step:\n{''.join(output)[-2000:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime)


def measure(cases: Sequence[Case], turns: int) -> list[list[Spent]]:
    """Time every case once in each turn; the first turn is dropped."""
    rounds = []
    for turn in range(turns + 1):
        rounds.append([until_first_step(case) for case in cases])
        print(f"start: turn {turn} of {turns}", file=sys.stderr, flush=True)
    return [list(times) for times in zip(*rounds[1:], strict=True)]


def _ratio(times: Sequence[float], others: Sequence[float]) -> str:
    return f"{statistics.median(one / other for one, other in zip(times, others, strict=True)):.2f}"


def _growth(cases: Sequence[Case], spent: Sequence[Sequence[Spent]], what: str) -> str:
    """Fit a line through the times of the runs with one checkpoint, each less that of the shortest in its turn."""
    timed = [(case, times) for case, times in zip(cases, spent, strict=True) if case.checkpoints == 1]
    base = timed[0][1]
    x = [case.steps / STEPS[-1] for case, times in timed for _ in times]
    y = [getattr(t, what) - getattr(b, what) for _, times in timed for t, b in zip(times, base, strict=True)]
    line = growth(x, y)
    return f"{1000 * line.slope:+.0f} ± {1000 * line.error:.0f} ms"


def report(parts: protocol.Division, folder: Path, turns: int) -> str:
    """Measure and lay out the table, and what grows."""
    cases = prepare(parts, folder)
    spent = measure(cases, turns)
    reference = next(times for case, times in zip(cases, spent, strict=True) if case.name == REFERENCE)
    rows = []
    for case, times in zip(cases, spent, strict=True):
        wall, processor = [t.wall for t in times], [t.processor for t in times]
        behind = (f"{case.steps}", f"{case.checkpoints}") if case.checkpoints else ("–", "–")
        medians = (f"{statistics.median(wall):.2f}", f"{statistics.median(processor):.2f}")
        ratios = (_ratio(wall, [t.wall for t in reference]), _ratio(processor, [t.processor for t in reference]))
        rows.append((f"`{case.name}`", *behind, *medians, *ratios))
    header = (
        "until the first step",
        "steps behind",
        "checkpoints",
        "wall [s]",
        "processor [s]",
        "wall, ratio",
        "processor, ratio",
    )
    grown = "; ".join(
        f"{name} {_growth(cases, spent, key)}" for name, key in (("wall", "wall"), ("processor", "processor"))
    )
    return f"{protocol.table(header, rows)}\n\n{turns} turns. For {STEPS[-1]} more steps behind it: {grown}."
