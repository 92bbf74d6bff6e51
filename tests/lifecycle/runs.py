"""Make small training runs for tests: data, options, the command, and a comparison to the last bit."""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from milepost.checkpoint import load_checkpoint

OPTIONS = """
seed: 3
architecture:
  name: cairn
  model: {cutoff: 4.0, features: 8, layers: 2, radial_functions: 5}
  training:
    epochs: 6
    batch_size: 4
    evaluate_every_epochs: 2
    compile: false
training_set: {systems: frames.xyz}
validation_set: 0.2
checkpoints: {every_steps: 3, keep_last: 2, keep_best: 1}
"""


SIZES_DIFFER = ("CH3CH2OH", "H2O", "H2O")


def write_data(folder: Path, frames: int = 23, seed: int = 0, molecules: tuple[str, ...] = SIZES_DIFFER) -> None:
    """Write distorted molecules, in turn, with made-up energies and forces."""
    rng = np.random.default_rng(seed)
    structures = []
    for number in range(frames):
        atoms = molecule(molecules[number % len(molecules)])
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        forces = rng.normal(size=atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=float(rng.normal() - 5 * len(atoms)), forces=forces)
        structures.append(atoms)
    ase.io.write(folder / "frames.xyz", structures, format="extxyz")


def write_run(folder: Path, options: str = OPTIONS, molecules: tuple[str, ...] = SIZES_DIFFER) -> Path:
    """Write data and options into a folder and return the options file."""
    write_data(folder, molecules=molecules)
    path = folder / "options.yaml"
    path.write_text(options, encoding="utf-8")
    return path


def command(*arguments: str) -> list[str]:
    """Return the command line that runs `milepost` with these arguments."""
    return [sys.executable, "-c", "from milepost.cli import main; main()", *arguments]


def milepost(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `milepost` in a folder to its end."""
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, check=False)


def training_state(path: Path) -> dict[str, object]:
    """Read every component of a checkpoint."""
    with load_checkpoint(path) as checkpoint:
        return {name: checkpoint.state(name) for name in checkpoint.components}


def differing(a: object, b: object, where: str = "") -> list[str]:
    """List where two states differ, tensors compared bit by bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(k for k in b if k not in a)]
        return [d for k in keys for d in differing(a.get(k), b.get(k), f"{where}.{k}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differing(x, y, f"{where}[{i}]")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        same = a.dtype == b.dtype and a.shape == b.shape
        same = same and a.contiguous().flatten().view(torch.uint8).equal(b.contiguous().flatten().view(torch.uint8))
        return [] if same else [where]
    if isinstance(a, float) and isinstance(b, float):
        return [] if repr(a) == repr(b) else [where]  # NaN is itself
    return [] if type(a) is type(b) and a == b else [where]
