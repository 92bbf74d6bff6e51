"""Measure what a stop changes: how far a continued run ends from one that was never stopped, and how long it waits.

`--only compare`: Milepost, Lightning's Trainer, NequIP and metatrain train small models of `examples/ethanol` (200
frames, 6 epochs of 20 steps, one thread, everything seeded and deterministic). Each runs twice without a stop, which
shows whether it repeats itself at all, and once killed and continued its own documented way. What is compared: all
weights, the log, the error at its end, and the examples of every step.

`--only start`: the time from the start of the process to the first new step, for runs with more and more steps behind
them, beside the time to import torch and build the same model, by turns (see `resume_start.py`).

Needs Milepost's environment, and one for every peer that takes part (see `peers.py`); who is absent or fails has a row
that says so. A quarter of an hour on two quiet cores, of which the start takes less than five minutes. Repeat with

    python benchmarks/resume.py --nequip-python PATH --metatrain-python PATH
"""

import argparse
import sys
import tempfile
from pathlib import Path

import ase.io
import peers
import protocol
import resume_start
from resume_compare import Distance, distance, other_batches, row_faults, uneven
from resume_programs import EXAMPLES, Ended, Program, programs

HEADER = (
    "program",
    "saved at",
    "tensors that differ, run twice",
    "tensors that differ, stopped",
    "largest difference",
    "relative difference",
    "error at the end, kept / stopped [meV/Å]",
    "log rows again / lost",
    "examples again / never",
    "steps with other examples",
)


def division(frames: Path, folder: Path) -> protocol.Division:
    """Write the usual parts of the data, the training part cut to a few epochs' worth."""
    parts = protocol.divide(frames, folder)
    ase.io.write(parts.training, ase.io.read(parts.training, index=f":{EXAMPLES}"), format="extxyz")
    return parts


def row(program: Program, kept: Ended, twice: Ended, stopped: Ended) -> tuple[str, ...]:
    """Lay out how a stopped run and a second one that was not compare with the first."""
    by_itself, found = distance(kept.weights, twice.weights), distance(kept.weights, stopped.weights)
    again, lost = row_faults([key for key, _ in kept.log], [key for key, _ in stopped.log])
    counted = ("–", "–")
    if kept.batches and stopped.batches:
        examples = sorted({example for batch in kept.batches for example in batch.examples}, key=str)
        seen = uneven(stopped.batches, examples)
        counted = (f"{seen[0]} / {seen[1]}", f"{other_batches(kept.batches, stopped.batches)} of {len(kept.batches)}")
    return (
        program.name,
        program.saved,
        f"{by_itself.differing} of {by_itself.tensors}",
        f"{found.differing} of {found.tensors}",
        *_sizes(found),
        f"{kept.log[-1][1]:.2f} / {stopped.log[-1][1]:.2f}",
        f"{again} / {lost}",
        *counted,
    )


def _sizes(found: Distance) -> tuple[str, str]:
    return ("0", "0") if found.differing == 0 else (f"{found.largest:.1g}", f"{found.relative:.1%}")


def compare(options: argparse.Namespace, parts: protocol.Division, folder: Path) -> str:
    """Train everything; return the table."""
    rows: list[tuple[str, ...]] = []
    for number, program in enumerate(programs(options.nequip_python, options.metatrain_python)):
        if isinstance(program, str):
            rows.append((program, "not installed here", *["–"] * (len(HEADER) - 2)))
            continue
        if options.program and not program.name.lower().startswith(tuple(options.program)):
            continue
        print(f"{program.name}, {program.saved}", file=sys.stderr, flush=True)
        try:
            rows.append(row(program, *trained(program, parts, folder / f"{number}")))
        except SystemExit as error:  # the others' rows are worth having
            print(error, file=sys.stderr)
            rows.append((program.name, program.saved, "failed", *["–"] * (len(HEADER) - 3)))
    return protocol.table(HEADER, rows)


def trained(program: Program, parts: protocol.Division, folder: Path) -> tuple[Ended, Ended, Ended]:
    """Train one program three times: kept, twice, stopped."""
    kept, twice = (program.train(parts, folder / name, stopped=False) for name in ("kept", "twice"))
    return kept, twice, program.train(parts, folder / "stopped", stopped=True)


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description="Compare runs that were stopped with runs that were not.")
    parser.add_argument("--only", choices=["compare", "start"], default=None)
    parser.add_argument("--program", action="append", help="of the comparison, this one alone: milepost, nequip, …")
    parser.add_argument("--turns", type=int, default=5, help="of the start")
    parser.add_argument("--frames", type=Path, default=protocol.FRAMES)
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR", help="new folder for all that is written")
    peers.add_interpreters(parser)
    options = parser.parse_args()
    busy = protocol.busy_share()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.keep or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        parts = division(options.frames, folder)
        if options.only != "start":
            print(compare(options, parts, folder), end="\n\n", flush=True)
        if options.only != "compare":
            print(resume_start.report(parts, folder / "start", options.turns), end="\n\n")
    print(protocol.machine_line(peers.interpreters(options), busy))


if __name__ == "__main__":
    main()
