"""Measure learners on the benchmarks of continual learning, beside the published figures, and how long a run takes.

Streams, settings and figures are those of Buzzega et al., NeurIPS 2020 (`continual_protocol.py`). Every run is a
process of its own that trains as `milepost train` does (`continual_run.py`), with one thread. Runs are added to a file
of results as they end, and those that are in it are not repeated: the tables can be filled over several sittings.
Which runs are made is narrowed by --stream, --learner and --buffer; learners that the tables are not about (si, lwf,
gem, …) run only when they are named.

`--table` prints the tables of a file of results and measures nothing. `--speed` times runs of DER++ with 500 examples,
of S-MNIST and P-MNIST, on one core, evaluations included: as they are, and with a compiled step that an earlier run
left in this benchmark's own cache (how long that one took is printed).

Needs Milepost's environment and the files of MNIST. Repeat with

    python benchmarks/continual.py --data-dir FOLDER --results FILE --processes 2
    python benchmarks/continual.py --results FILE --table
    python benchmarks/continual.py --data-dir FOLDER --speed
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import continual_results as results
import protocol
from continual_protocol import ASKED, CELLS, NAMES, STREAMS, Cell
from processes import HERE, run_logged

GOALS = {"seq-mnist": 8.0, "perm-mnist": 40.0}
"""Seconds that a run of DER++ with 500 examples may take."""


VARIANTS = {"eager": False, "compiled before": True}


def run(cell: Cell, seed: int, data_dir: Path, core: int | None = None, variant: str = "eager") -> dict[str, Any]:
    """Train once in a process and a folder of its own; return what it left, with the seconds of the whole process.

    Raises SystemExit with the end of its output where it fails.
    """
    options = cell.options(seed, str(data_dir))
    options["architecture"]["training"]["compile"] = VARIANTS[variant]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        asked = {"options": options, "core": core}
        (folder / "run.json").write_text(json.dumps(asked), encoding="utf-8")
        command = [sys.executable, HERE / "continual_run.py", "run.json"]
        whole = run_logged(command, folder / "run.log", {"OMP_NUM_THREADS": "1"})
        found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    found["seconds"]["process"] = whole
    return found


def chosen(options: argparse.Namespace) -> list[Cell]:
    """List the cells that the command line asks for."""
    learners = options.learner or ASKED
    return [
        cell
        for cell in CELLS
        if cell.learner in learners
        and (not options.stream or cell.stream in options.stream)
        and (not options.buffer or cell.buffer is None or cell.buffer in options.buffer)
    ]


def missing(cells: Sequence[Cell], seeds: int, lines: Sequence[results.Found]) -> list[tuple[Cell, int]]:
    """List the runs that are not there yet: first the first seed of all."""
    there = [(cell, results.of(cell, lines)) for cell in cells]
    return [(cell, seed) for seed in range(seeds) for cell, found in there if seed not in found]


def fill(options: argparse.Namespace) -> int:
    """Make the runs that are missing, some at once; return how many failed."""
    wanted = missing(chosen(options), options.seeds, results.read(options.results))
    failed = 0
    with ThreadPoolExecutor(options.processes) as pool:
        runs = {pool.submit(run, cell, seed, options.data_dir): (cell, seed) for cell, seed in wanted}
        for number, done in enumerate(as_completed(runs), 1):
            cell, seed = runs[done]
            shown = f"{number} of {len(runs)}: {STREAMS[cell.stream]} {cell.name}, seed {seed}"
            try:
                found = done.result()
            except SystemExit as error:  # the others are worth having
                failed += 1
                print(f"{shown}: failed\n{error}", file=sys.stderr, flush=True)
                continue
            results.append(options.results, results.described(cell, seed, found))
            accuracy, seconds = found["scores"]["accuracy"]["average"], found["seconds"]["process"]
            print(f"{shown}: {accuracy:.2f} % in {seconds:.0f} s", file=sys.stderr, flush=True)
    return failed


def speed(data_dir: Path, turns: int) -> str:
    """Time DER++ by turns on one core; return a table of medians."""
    core = min(os.sched_getaffinity(0))
    cells = [cell for cell in CELLS if (cell.learner, cell.buffer) == ("derpp", 500) and cell.stream in GOALS]
    for cell in cells:
        first = run(cell, 0, data_dir, core, "compiled before")["seconds"]["training"]
        print(f"{STREAMS[cell.stream]} {cell.name}, with nothing compiled before: {first:.0f} s", file=sys.stderr)
    cases = [(cell, variant) for cell in cells for variant in VARIANTS]
    spent: list[list[dict[str, Any]]] = [[] for _ in cases]
    for turn in range(turns):
        for found, (cell, variant) in zip(spent, cases, strict=True):
            found.append(run(cell, turn, data_dir, core, variant))
    rows = [speed_row(cell, variant, found) for found, (cell, variant) in zip(spent, cases, strict=True)]
    header = ("run", "steps", "training [s]", "of the processor", "process [s]", "of the processor", "goal [s]", "goal")
    return protocol.table(header, rows)


def speed_row(cell: Cell, variant: str, found: list[dict[str, Any]]) -> tuple[str, ...]:
    """Lay out the medians of some runs."""
    goal = GOALS[cell.stream]
    medians = {name: statistics.median(one["seconds"][name] for one in found) for name in found[0]["seconds"]}
    times = [f"{medians[name]:.1f}" for name in ("training", "training_processor", "process", "processor")]
    met = "met" if medians["training"] <= goal else "missed"
    return (f"{STREAMS[cell.stream]} {cell.name}, {variant}", str(found[0]["steps"]), *times, f"{goal:g}", met)


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure learners on the benchmarks of continual learning.")
    parser.add_argument("--data-dir", type=Path, help="folder of MNIST's four IDX files")
    parser.add_argument("--results", type=Path, default=protocol.ROOT / "benchmarks" / "results" / "continual.jsonl")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each cell, seeds from 0")
    parser.add_argument("--processes", type=int, default=1, help="runs at once")
    parser.add_argument("--stream", action="append", choices=list(STREAMS), help="this one alone; repeatable")
    parser.add_argument("--learner", action="append", choices=list(NAMES), help="this one alone; repeatable")
    parser.add_argument("--buffer", action="append", type=int, help="this size alone; repeatable")
    parser.add_argument("--table", action="store_true", help="print the tables and measure nothing")
    parser.add_argument("--speed", action="store_true", help="time single runs instead")
    parser.add_argument("--turns", type=int, default=3, help="of --speed")
    options = parser.parse_args()
    if options.data_dir is None and not options.table:
        parser.error("expected --data-dir, the folder of MNIST's files")
    if options.data_dir is not None:
        options.data_dir = options.data_dir.resolve()
    return options


def main() -> None:
    """Do what the command line asks for."""
    options = read_arguments()
    if options.table:
        print(results.tables(results.read(options.results)))
        return
    busy = protocol.busy_share() if options.speed else 0.0
    if options.speed:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
            print(speed(options.data_dir, options.turns), protocol.machine_line({}, busy), sep="\n\n")
        return
    failed = fill(options)
    print(results.tables(results.read(options.results)))
    if failed:
        raise SystemExit(f"{failed} runs failed; the same command makes them again")


if __name__ == "__main__":
    main()
