"""What every benchmark shares: the division of the data, Markdown tables, the line that names the machine.

Division of `examples/ethanol/ethanol.xyz` (1280 frames): the first 950 train, the next 50 validate, and the
remaining 280 are *unseen*: no program reads them before its training is over.
"""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ase.io

ROOT = Path(__file__).resolve().parent.parent
FRAMES = ROOT / "examples" / "ethanol" / "ethanol.xyz"
TRAINING_FRAMES = 950
VALIDATION_FRAMES = 50
PACKAGES = ("milepost", "torch", "ase", "nequip", "metatrain")


@dataclass(frozen=True)
class Division:
    """Three extended-XYZ files cut from one."""

    training: Path
    validation: Path
    unseen: Path


def divide(frames: Path, folder: Path) -> Division:
    """Write the three parts of `frames` into `folder`, as extended XYZ with energies [eV] and forces [eV/Å].

    Raises `SystemExit` when the file is too short to leave unseen frames.
    """
    structures = ase.io.read(frames, index=":", format="extxyz")
    end = TRAINING_FRAMES + VALIDATION_FRAMES
    if len(structures) <= end:
        raise SystemExit(f"{frames}: expected more than {end} frames, found {len(structures)}; make the data again")
    parts = Division(*(folder / f"{name}.xyz" for name in ("training", "validation", "unseen")))
    ase.io.write(parts.training, structures[:TRAINING_FRAMES], format="extxyz")
    ase.io.write(parts.validation, structures[TRAINING_FRAMES:end], format="extxyz")
    ase.io.write(parts.unseen, structures[end:], format="extxyz")
    return parts


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    return "\n".join([line(header), f"|{rule}|", *(line(row) for row in rows)])


def processor() -> str:
    """Name the CPU model, as the operating system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for row in info.read_text(encoding="utf-8").splitlines():
            if row.startswith("model name"):
                return row.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def busy_share(seconds: float = 3.0) -> float:
    """Measure what share of the cores other processes use; the benchmarks mean little above a few percent."""

    def ticks() -> tuple[int, int]:
        counts = [int(x) for x in Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]]
        return counts[3] + counts[4], sum(counts[:8])  # idle and waiting for the disk; all, without guests

    idle, total = ticks()
    time.sleep(seconds)
    idle_after, total_after = ticks()
    share = 1 - (idle_after - idle) / max(1, total_after - total)
    if share > 0.05:
        print(f"warning: other processes use {share:.0%} of the cores; stop them first", file=sys.stderr)
    return share


def versions_here() -> dict[str, str]:
    """List the versions of Python and of the compared packages that this interpreter has."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def versions_of(python: Path) -> dict[str, str]:
    """Ask another interpreter for its versions, by running this file with it."""
    done = subprocess.run([python, __file__], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def machine_line(pythons: Mapping[str, Path], busy: float) -> str:
    """Name cores, CPU model, versions (ours and each peer's), and the share in use before the start."""
    cores = len(os.sched_getaffinity(0))
    sides = {"Milepost's environment": versions_here()} | {f"{name}'s": versions_of(p) for name, p in pythons.items()}
    listed = "; ".join(f"{side}: {', '.join(f'{k} {v}' for k, v in found.items())}" for side, found in sides.items())
    system = f"{platform.system()} {platform.machine()}"
    return f"Machine: {cores} cores of {processor()}, {system}, {busy:.0%} in use before the start. {listed}."


if __name__ == "__main__":
    json.dump(versions_here(), sys.stdout)
