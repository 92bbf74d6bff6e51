"""Measure how long each program takes to print its help: the wait before anything else can happen.

Needs Milepost's environment, and any of the peers' (see `peers.py`). Commands are run in turns, and the
medians of the turns are printed, so that a slow moment of the machine does not fall on one program alone. The
first turn fills the file cache and is not counted. Repeat with

    python benchmarks/start_time.py --nequip-python PATH --metatrain-python PATH
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import peers
import protocol


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """List the help commands of the programs that take part; Milepost's comes first."""
    found = {"milepost --help": [str(Path(sys.executable).parent / "milepost"), "--help"]}
    if options.metatrain_python:
        found["mtt --help"] = [str(options.metatrain_python.parent / "mtt"), "--help"]
    if options.nequip_python:
        found["nequip-compile --help"] = [str(options.nequip_python.parent / "nequip-compile"), "--help"]
    return found


def seconds(command: list[str], folder: Path) -> float:
    """Run one command to its end; a failing command ends the benchmark."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return spent


def measure(listed: dict[str, list[str]], turns: int, folder: Path) -> dict[str, list[float]]:
    """Time every command once in each turn; the first turn is dropped."""
    spent: dict[str, list[float]] = {name: [] for name in listed}
    for turn in range(turns + 1):
        for name, command in listed.items():
            taken = seconds(command, folder)
            if turn:
                spent[name].append(taken)
    return spent


def main() -> None:
    """Print one row for each command."""
    parser = argparse.ArgumentParser(description="Time the help commands of Milepost and its peers.")
    parser.add_argument("--turns", type=int, default=5)
    peers.add_interpreters(parser)
    options = parser.parse_args()
    busy = protocol.busy_share()
    spent = measure(commands(options), options.turns, Path(__file__).parent)
    ours = next(iter(spent.values()))
    rows = []
    for name, times in spent.items():
        ratio = statistics.median(theirs / mine for theirs, mine in zip(times, ours, strict=True))
        cells = (f"{statistics.median(times):.2f}", f"{min(times):.2f}", f"{max(times):.2f}", f"{ratio:.1f}")
        rows.append((f"`{name}`", *cells))
    print(protocol.table(("command", "median [s]", "least [s]", "most [s]", "times Milepost's"), rows))
    print(f"\n{options.turns} turns. {protocol.machine_line(peers.interpreters(options), busy)}")


if __name__ == "__main__":
    main()
