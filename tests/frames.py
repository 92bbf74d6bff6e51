"""Make structures with targets, files and options that describe them, and small potentials."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from milepost.atoms.cairn import ARCHITECTURE
from milepost.atoms.dataset import Structures
from milepost.atoms.domain import DOMAIN
from milepost.atoms.options import AtomsOptions
from milepost.atoms.potential import Potential, Predictions, predict
from milepost.atoms.reading import Frame
from milepost.options import load_options

SPECIES = [1, 6, 8]
CUTOFF = 3.0
FACTS = {"atomic_numbers": SPECIES, "references": [0.0] * 3, "force_size": 1.0, "average_neighbors": 4.0}
"""What data would fix about a potential, without its cutoff."""

TRICLINIC = np.array([[2.1, 0.0, 0.0], [0.6, 2.3, 0.0], [-0.4, 0.7, 2.5]])
"""A cell [Å] whose vectors are shorter than the cutoff."""


def molecule(seed: int = 0, atoms: int = 5, spread: float = 0.1) -> ase.Atoms:
    """Put atoms of three species near the points of a grid of 1.1 Å, so that none overlap."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = rng.permutation(len(grid))[:atoms]
    positions = 1.1 * grid[places] + rng.normal(scale=spread, size=(atoms, 3))
    return ase.Atoms(numbers=rng.choice(SPECIES, atoms), positions=positions)


def crystal(seed: int = 0, atoms: int = 2) -> ase.Atoms:
    """Put atoms into a periodic triclinic cell that is smaller than the cutoff."""
    rng = np.random.default_rng(seed)
    places = np.array([[0.1, 0.1, 0.1], [0.6, 0.55, 0.6]])[:atoms] + rng.normal(scale=0.02, size=(atoms, 3))
    return ase.Atoms(numbers=SPECIES[:atoms], scaled_positions=places, cell=TRICLINIC, pbc=True)


def labelled(atoms: ase.Atoms, seed: int = 0, **results: Any) -> ase.Atoms:
    """Attach made-up energy and forces, and stress where there is a full cell; `results` replaces them."""
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {"energy": float(rng.normal()), "forces": rng.normal(size=(len(atoms), 3))}
    if atoms.pbc.all():
        made["stress"] = rng.normal(scale=0.01, size=6)
    made |= results
    atoms.calc = SinglePointCalculator(atoms, **made)
    return atoms


def frame(atoms: ase.Atoms, where: str = "made, frame 0", **targets: Any) -> Frame:
    """Make a checked frame of atoms and the targets that their calculator holds."""
    results = {} if atoms.calc is None else atoms.calc.results
    targets = {"energy": results.get("energy"), "forces": results.get("forces"), "stress": None, **targets}
    return Frame(
        atoms.numbers.astype(np.int64),
        atoms.get_positions(),
        np.array(atoms.cell.array),
        np.array(atoms.pbc, dtype=bool),
        targets["energy"],
        targets["forces"],
        targets["stress"],
        where,
    )


def write(path: Path, structures: Sequence[ase.Atoms]) -> Path:
    """Write structures as extended XYZ."""
    ase.io.write(path, list(structures), format="extxyz")
    return path


def options(text: str, *overrides: str) -> AtomsOptions:
    """Read options of a run with the architecture cairn."""
    loaded = load_options("options.yaml", ARCHITECTURE.options_class(), overrides, text)
    if not isinstance(loaded, AtomsOptions):
        raise TypeError(f"expected options of the atomistic domain, found {type(loaded).__name__}")
    return loaded


def potential(seed: int = 0, *, cutoff: float = CUTOFF, layers: int = 2, features: int = 4) -> Potential:
    """Make a small potential in double precision with fixed random weights."""
    torch.manual_seed(seed)
    given = {"cutoff": cutoff, "features": features, "layers": layers, "radial_functions": 5}
    return DOMAIN.rebuild(_options_of(tuple(given.items())), ARCHITECTURE, {**FACTS, "cutoff": cutoff})


@functools.cache
def _options_of(model: tuple[tuple[str, float], ...]) -> AtomsOptions:
    text = f"architecture: {{name: cairn, model: {dict(model)}}}\ntraining_set: a.xyz\nbase_precision: 64\n"
    return options(text)


def structures(frames: Sequence[Frame], cutoff: float = CUTOFF) -> Structures:
    """Make a data set in double precision without reference energies."""
    made = Structures(frames, cutoff, SPECIES)
    made.finish(torch.zeros(len(SPECIES), dtype=torch.float64), torch.float64, torch.device("cpu"))
    return made


def predicted(
    model: Potential, systems: Sequence[ase.Atoms], shape: tuple[int, int] | None = None, **keywords: Any
) -> Predictions:
    """Predict structures in one batch, through the same road as training: no targets, padded to `shape`."""
    data = structures([frame(atoms) for atoms in systems], model.cutoff)
    shape = shape or (len(systems), max(2, sum(map(len, systems))))
    batch = data.batch(torch.arange(len(systems)), shape)
    names = ("vectors", "neighbors", "reverse", "species", "structure")
    return predict(model, *(batch[n] for n in names), shape[0], **{"differentiable": False, **keywords})
