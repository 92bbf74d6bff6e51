"""Tiny trained potentials for tests, as the files that users have: made once for a test process.

Weights are random but fixed; the scale is such that forces are those of molecules. A molecule that neither
training nor export has seen: ethanol, from ASE.
"""

import functools
import tempfile
from pathlib import Path

import ase.build
import numpy as np
import torch

from milepost.atoms.cairn.model import Cairn
from milepost.atoms.potential import Potential
from milepost.checkpoint import CheckpointRecord, environment, save_checkpoint

SPECIES = [1, 6, 8]
REFERENCES = [-13.6, -1030.5, -2040.25]
CUTOFF = 4.0
RUN = "run-of-the-tests"
METADATA = {
    "name": "tiny",
    "description": "a potential for tests",
    "authors": ["A. Author"],
    "references": {"model": ["doi:10.1/model"], "architecture": ["doi:10.1/architecture"]},
    "note": {"kept": True},
}
OPTIONS = """
architecture:
  name: cairn
  model: {{cutoff: {cutoff}, features: {features}, layers: {layers}, radial_functions: 5}}
base_precision: {precision}
training_set: structures.xyz
"""


@functools.cache
def folder() -> Path:
    """Return a folder that lasts as long as the test process."""
    kept = tempfile.TemporaryDirectory(prefix="milepost-tests-")
    _FOLDERS.append(kept)
    return Path(kept.name)


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


def potential(layers: int = 2, features: int = 8, dtype: torch.dtype = torch.float32) -> Potential:
    """Make a potential: the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = Cairn(
            species=len(SPECIES),
            cutoff=CUTOFF,
            features=features,
            layers=layers,
            radial_functions=5,
            average_neighbors=6.0,
        ).to(dtype)
    made = Potential(network, SPECIES, CUTOFF)
    made.references.copy_(torch.tensor(REFERENCES, dtype=torch.float64))
    made.scale.fill_(2.0)
    return made.eval().requires_grad_(False)


def checkpoint(layers: int = 2, precision: int = 32, run_id: str = RUN) -> Path:
    """Save a potential as training does."""
    return _checkpoint(layers, precision, run_id)


@functools.cache
def _checkpoint(layers: int, precision: int, run_id: str) -> Path:
    dtype = {32: torch.float32, 64: torch.float64}[precision]
    made = potential(layers, dtype=dtype)
    path = folder() / f"{run_id}-{layers}-{precision}.ckpt"
    facts = {
        "atomic_numbers": SPECIES,
        "cutoff": CUTOFF,
        "average_neighbors": 6.0,
        "force_size": 2.0,
        "references": REFERENCES,
        "largest": 9,
    }
    record = CheckpointRecord(
        run_id=run_id,
        step=12,
        metadata={"architecture": "cairn", "step_mode": "eager", "metadata": METADATA},
        environment=environment(),
        versions={"cairn": 1},
    )
    options = OPTIONS.format(cutoff=CUTOFF, features=8, layers=layers, precision=precision)
    save_checkpoint(path, {"model": made, "facts": facts}, options_yaml=options, record=record)
    return path


@functools.cache
def scripted() -> Path:
    """Export a checkpoint of two layers to `.pt`."""
    from milepost.atoms.exporting_files import export_potential

    path = folder() / "tiny-2.pt"
    export_potential(checkpoint(), path)
    return path


@functools.cache
def compiled() -> Path:
    """Export a checkpoint of one layer to `.pt2`: the only compilation of the test process."""
    from milepost.atoms.exporting_files import export_potential

    path = folder() / "tiny-1.pt2"
    export_potential(checkpoint(1), path)
    return path


def ethanol() -> ase.Atoms:
    """Build a molecule off its minimum."""
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    return atoms


def crystal() -> ase.Atoms:
    """Build a triclinic cell that is smaller than the cutoff."""
    cell = [[3.0, 0.0, 0.0], [1.0, 3.1, 0.0], [-0.5, 0.4, 2.9]]
    return ase.Atoms("CO", scaled_positions=[[0.1, 0.1, 0.1], [0.6, 0.5, 0.4]], cell=cell, pbc=True)


def structures() -> dict[str, ase.Atoms]:
    """Collect structures of several kinds by name."""
    far = ase.Atoms("HO", positions=[[0, 0, 0], [0, 0, 9.0]])
    return {
        "ethanol": ethanol(),
        "crystal": crystal(),
        "one atom": ase.Atoms("O", positions=[[1.0, 2.0, 3.0]]),
        "no pairs": far,
        "wire": ase.Atoms("CH", positions=[[0, 0, 0], [0, 0.9, 0.8]], cell=[0, 0, 2.4], pbc=[False, False, True]),
    }


def deviation(one: object, other: object) -> float:
    """Return the largest difference of two arrays."""
    return float(np.abs(np.asarray(one) - np.asarray(other)).max(initial=0.0))
