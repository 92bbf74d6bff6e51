"""A tiny training run whose checkpoint is stored with what it predicts and how its training goes on.

`checkpoints/v<n>.ckpt` is the n-th stored file: three steps of a run in double precision on `checkpoints/frames.xyz`,
stopped in the middle of an epoch of two steps. `checkpoints/v<n>.json` beside it holds the versions of all that is in
it, energies and forces of structures that the run has not seen, and the metrics of its next five steps. Both are kept
for good.
"""

import csv
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import ase
import ase.build
import ase.io
import numpy as np
import torch
import yaml
from ase.calculators.singlepoint import SinglePointCalculator

from compat.structures import describe_tree
from milepost.archive import Archive
from milepost.archive.layout import FORMAT_VERSION
from milepost.atoms.cairn import ARCHITECTURE
from milepost.atoms.calculator import Calculator
from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.checkpoint.upgrades import TRAINING_STATE_VERSION
from milepost.options import load_options
from milepost.run import Reporter, Request, train

FOLDER = Path(__file__).parent / "checkpoints"
FRAMES = FOLDER / "frames.xyz"
STEP = 3
LARGEST = 50_000
# Every part of a training state has something to say: average, plateau, early stopping, clipping.
OPTIONS = """
seed: 3
device: cpu
base_precision: 64
architecture:
  name: cairn
  model: {cutoff: 3.0, features: 2, layers: 1, radial_functions: 3}
  training:
    epochs: 4
    batch_size: 4
    ema_decay: 0.9
    gradient_clip: 10.0
    schedule: {name: plateau, warmup_steps: 2, patience: 2}
    early_stopping: {patience: 50}
    compile: false
training_set: {systems: frames.xyz}
validation_set: 0.2
checkpoints: {every_steps: 1, keep_last: 8}
"""


class Silent(Reporter):
    """Print nothing."""

    def say(self, message: str) -> None:
        """Take note of nothing."""


def versions() -> dict[str, int]:
    """List the versions of today of everything in a checkpoint."""
    return {
        "archive": FORMAT_VERSION,
        "training_state": TRAINING_STATE_VERSION,
        ARCHITECTURE.name: ARCHITECTURE.version,
    }


def numbers() -> list[int]:
    """List the stored files by number, oldest first."""
    return sorted(int(path.stem.removeprefix("v")) for path in FOLDER.glob("v*.ckpt"))


def paths(number: int) -> tuple[Path, Path]:
    """Return where the checkpoint of a number lies, and what is known of it."""
    return FOLDER / f"v{number}.ckpt", FOLDER / f"v{number}.json"


def known(number: int) -> dict[str, Any]:
    """Read what is known of the stored checkpoint of a number."""
    found: dict[str, Any] = json.loads(paths(number)[1].read_text("utf-8"))
    return found


def write_frames(path: Path) -> None:
    """Write ten distorted molecules of water and hydrogen with made-up energies and forces."""
    rng = np.random.default_rng(5)
    frames = []
    for number in range(10):
        atoms = ase.build.molecule("H2O" if number % 3 else "H2")
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        forces = rng.normal(size=atoms.positions.shape)
        atoms.calc = SinglePointCalculator(atoms, energy=float(rng.normal() - 5 * len(atoms)), forces=forces)
        frames.append(atoms)
    ase.io.write(path, frames, format="extxyz")


def run(folder: Path, restart: Path | None = None) -> Path:
    """Train in a folder to the end, from the beginning or from a checkpoint; return the directory of the run."""
    shutil.copyfile(FRAMES, folder / "frames.xyz")
    text = OPTIONS
    if restart is not None:
        with load_checkpoint(restart) as checkpoint:
            text = checkpoint.options_yaml
    options = load_options(None, ARCHITECTURE.options_class(), text=text)
    start = None if restart is None else str(restart)
    request = Request(options, ARCHITECTURE, folder, folder / "model.ckpt", start)
    return train(request, Silent()).directory


def checkpoint_of(directory: Path) -> Path:
    """Return the checkpoint of a run after three steps."""
    return directory / "checkpoints" / f"step-{STEP:08d}.ckpt"


def later_metrics(directory: Path) -> list[dict[str, float]]:
    """Read the metrics of a run's evaluations after those three steps."""
    return [row for row in read_metrics(directory) if row["step"] > STEP]


def read_metrics(directory: Path) -> list[dict[str, float]]:
    """Read the metrics of a run, leaving out those that were not measured."""
    with (directory / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]


def unseen() -> dict[str, ase.Atoms]:
    """Build structures that the run has not seen: a molecule off its minimum, and a crystal of molecules."""
    water = ase.Atoms("OH2", positions=[[0.0, 0.0, 0.1], [0.1, 0.8, -0.5], [0.0, -0.7, -0.4]])
    ice = ase.Atoms("OH2H2", positions=[[0.1, 0, 0], [0.9, 0.3, 0], [-0.2, 0.9, 0.1], [2, 2, 1.9], [2, 1.5, 2.5]])
    ice.cell[:] = [[3.5, 0.0, 0.0], [0.4, 3.6, 0.0], [-0.3, 0.2, 3.7]]
    ice.pbc = True
    return {"water": water, "ice": ice}


def predictions(path: Path) -> dict[str, dict[str, Any]]:
    """Compute energy [eV] and forces [eV/Å] of the unseen structures with a checkpoint."""
    found = {}
    for name, atoms in unseen().items():
        atoms.calc = Calculator(path, device="cpu")
        found[name] = {"energy": float(atoms.get_potential_energy()), "forces": atoms.get_forces().tolist()}
    return found


def structure(path: Path) -> dict[str, str]:
    """Say what a checkpoint is made of, without any value: the type at every place, by the place's name.

    Left out are the architecture's source, and the states of CUDA's generators, which depend on the machine.
    """
    lines: dict[str, str] = {}
    with zipfile.ZipFile(path) as unzipped:
        names, manifest = unzipped.namelist(), json.loads(unzipped.read("manifest.json"))
    lines["the manifest's keys"] = " ".join(manifest)
    lines["keys of an entry"] = " ".join(manifest["entries"]["model.safetensors"])
    lines["entries"] = " ".join(name for name in names if not name.startswith("source/"))
    with Archive.open(path) as archive:
        for name, value in archive.manifest.extra.items():
            describe_tree(value, f"manifest.{name}", lines)
        for component in archive.manifest.components:
            describe_tree(archive.tree(component), component, lines)
    return lines


def differences(stored: dict[str, str], found: dict[str, str]) -> list[str]:
    """Say what changed, one line for each place."""
    places = [*stored, *(place for place in found if place not in stored)]
    return [
        f"{place}: expected {stored.get(place, 'nothing')}, found {found.get(place, 'nothing')}"
        for place in places
        if stored.get(place) != found.get(place)
    ]


def store(number: int) -> Path:
    """Train, and write the stored file of a number with what is known of it."""
    if not FRAMES.exists():
        write_frames(FRAMES)
    checkpoint, facts = paths(number)
    with tempfile.TemporaryDirectory() as folder:
        directory = run(Path(folder))
        write_small(checkpoint_of(directory), checkpoint)
        known = {
            "versions": versions(),
            "torch": str(torch.__version__),
            "predictions": predictions(checkpoint),
            "continued": later_metrics(directory),
        }
    facts.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return checkpoint


def write_small(path: Path, target: Path) -> None:
    """Write a run's checkpoint again, but for the source, 18 kB that are in this repository anyway, and without the
    comments in its options.
    """
    with load_checkpoint(path) as checkpoint:
        state = {name: checkpoint.state(name) for name in checkpoint.components}
        options = yaml.safe_dump(yaml.safe_load(checkpoint.options_yaml), sort_keys=False)
        save_checkpoint(target, state, options_yaml=options, record=checkpoint.record, overwrite=True)
