"""Measure dynamics in ASE: Milepost's exported model against NequIP's compiled one, in steps per second.

NVE of the ethanol molecule, 0.5 fs, velocities drawn at 500 K, the same start for both, on the CPU. Each
program's calculator runs in its own interpreter and process (`worker.py`); they are measured by turns, the
other one asleep, the order reversed every turn, and the ratio is taken pair by pair. The errors are those of
the very files that ran, on the unseen frames.

NequIP is given its fastest setting: `nequip-compile --mode aotinductor --target ase` (torch ≥ 2.10 leaves it
no other) and its own calculator, opened once for each number of threads and each of its neighbor-list
backends that is asked for. The fastest of them in a trial before the turns is the one compared. Milepost is
tried with the same numbers of threads.

Needs Milepost's environment, NequIP's (see `peers.py`), and two trained models, for example from
`time_to_accuracy.py --keep DIR`. Repeat with

    python benchmarks/dynamics.py model.pt2 DIR/nequip-default-300/best.ckpt --nequip-python PATH
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import peers
import protocol
from processes import Worker

TIMESTEP_FS = 0.5
TEMPERATURE_K = 500.0

Speed = dict[str, float]
"""What a worker answers of one stretch of dynamics."""


@dataclass(frozen=True)
class Side:
    """One way to open one program's model."""

    program: str
    setting: str
    worker: Worker
    trial: float  # steps per second in the trial


def speed(worker: Worker, frames: Path, steps: int, do: str = "dynamics") -> dict[str, float]:
    """Run one stretch of NVE, for its time or for its "conservation" of energy."""
    return worker.ask(do, frames=str(frames), steps=steps, timestep=TIMESTEP_FS, temperature=TEMPERATURE_K)


def open_side(stack: contextlib.ExitStack, program: str, setting: str, worker: Worker, frames: Path) -> Side:
    """Warm a worker up, then try it."""
    stack.enter_context(worker)
    speed(worker, frames, 100)
    side = Side(program, setting, worker, speed(worker, frames, 300)["steps_per_second"])
    print(f"{program}, {setting}: {side.trial:.0f} steps/s in the trial", file=sys.stderr)
    return side


def nequip_sides(stack: contextlib.ExitStack, options: argparse.Namespace, folder: Path, frames: Path) -> list[Side]:
    """Open NequIP's model in every setting asked for, compiling it first where a checkpoint is given."""
    sides = []
    for threads in options.threads:
        compiled = options.nequip_model
        if compiled.suffix == ".ckpt":
            compiled = folder / f"threads{threads}.nequip.pt2"
            spent = peers.compile_nequip(options.nequip_python, options.nequip_model.resolve(), compiled, threads)
            print(f"nequip-compile for {threads} threads: {spent:.0f} s", file=sys.stderr)
        for neighbors in options.neighbors:
            worker = Worker(options.nequip_python, "nequip", compiled, threads=threads, neighbors=neighbors)
            sides.append(open_side(stack, "NequIP", f"{threads} threads, {neighbors}", worker, frames))
    return sides


def milepost_sides(stack: contextlib.ExitStack, options: argparse.Namespace, frames: Path) -> list[Side]:
    """Open Milepost's model with every number of threads asked for."""
    python, model = Path(sys.executable), options.milepost_model
    return [
        open_side(stack, "Milepost", f"{t} threads", Worker(python, "milepost", model, threads=t), frames)
        for t in options.threads
    ]


def by_turns(pair: tuple[Side, Side], frames: Path, steps: int, turns: int) -> tuple[list[Speed], list[Speed]]:
    """Measure two sides one after the other, the first one changing places every turn."""
    found: tuple[list[Speed], list[Speed]] = ([], [])
    for turn in range(turns):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            found[which].append(speed(pair[which].worker, frames, steps))
    return found


def ratio(ours: list[float], theirs: list[float]) -> str:
    """State the median of the ratios pair by pair, with their range."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def report(pair: tuple[Side, Side], speeds: tuple[list[Speed], list[Speed]], frames: Path, steps: int) -> str:
    """Lay out the table and the ratios, by the clock and by the processor."""
    rows, clock, processor = [], [], []
    for side, found in zip(pair, speeds, strict=True):
        errors = side.worker.ask("errors", frames=str(frames))
        energy = speed(side.worker, frames, steps, "conservation")
        clock.append([one["steps_per_second"] for one in found])
        processor.append([one["steps"] / one["processor_seconds"] for one in found])
        pace = (f"{statistics.median(clock[-1]):.0f}", f"{min(clock[-1]):.0f} to {max(clock[-1]):.0f}")
        busy = f"{statistics.median(processor[-1]):.0f}"
        accuracy = (f"{errors['force_rmse']:.1f}", f"{errors['energy_rmse']:.2f}")
        conserved = (f"{energy['drift']:+.3f}", f"{energy['fluctuation']:.3f}")
        rows.append((side.program, side.setting, *pace, busy, *accuracy, *conserved))
    header = (
        "program",
        "setting",
        "steps/s, median",
        "range",
        "steps per processor second",
        "force RMSE [meV/Å]",
        "energy RMSE [meV/atom]",
        "drift [meV/atom/ps]",
        "fluctuation [meV/atom]",
    )
    closing = (
        f"Milepost : NequIP = {ratio(*clock)} by the clock, {ratio(*processor)} by the processor, "
        f"the median of {len(clock[0])} pairs of {steps} steps."
    )
    return f"{protocol.table(header, rows)}\n\n{closing}"


def main() -> None:
    """Choose the fastest setting of each program, then compare them by turns."""
    parser = argparse.ArgumentParser(description="Compare dynamics in ASE, Milepost against NequIP.")
    parser.add_argument("milepost_model", type=Path, help="exported model (.pt2)")
    parser.add_argument("nequip_model", type=Path, help="checkpoint (.ckpt), or a compiled model (.nequip.pt2)")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--neighbors", nargs="+", default=["matscipy"], help="NequIP's neighbor-list backends to try")
    parser.add_argument("--frames", type=Path, default=protocol.FRAMES)
    peers.add_interpreters(parser)
    options = parser.parse_args()
    busy = protocol.busy_share()
    if options.nequip_python is None:
        raise SystemExit("dynamics.py compares with NequIP: give --nequip-python PATH")
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        folder = Path(scratch)
        frames = protocol.divide(options.frames, folder).unseen
        ours = max(milepost_sides(stack, options, frames), key=lambda side: side.trial)
        theirs = max(nequip_sides(stack, options, folder, frames), key=lambda side: side.trial)
        pair = (ours, theirs)
        speeds = by_turns(pair, frames, options.steps, options.turns)
        print(report(pair, speeds, frames, options.steps))
        print(f"\n{protocol.machine_line(peers.interpreters(options), busy)}")


if __name__ == "__main__":
    main()
