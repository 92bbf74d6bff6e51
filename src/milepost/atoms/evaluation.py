"""Measure the errors of a potential, from whichever file it is in, on a data set, and write its predictions.

Promise: the same numbers from a checkpoint and from the files exported from it, up to rounding. Energies are
compared per atom; RMSE and MAE come in the unit of the target's energy, with Å.
"""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import ase
import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from pydantic import Field, field_validator

from milepost.archive import atomic_write
from milepost.atoms.engines import Engine
from milepost.atoms.evaluating import Errors
from milepost.atoms.options import ENERGY_UNITS, LENGTH_UNITS, SystemsOptions, TargetsOptions
from milepost.atoms.reading import Frame, check_geometry, find_files, parse, read_frames
from milepost.atoms.tables import Prediction
from milepost.options import OptionsModel

ATOMS_AT_ONCE = 512
"""Atoms in a batch unless the options say otherwise: enough to fill a few cores, little memory."""


class EvaluationOptions(OptionsModel):
    """Say what is evaluated: structures, and where their targets are."""

    systems: SystemsOptions = Field(description="where structures are read from; a file name will do")
    targets: TargetsOptions | None = Field(None, description="what predictions are compared with; null for nothing")
    atoms_at_once: int = Field(ATOMS_AT_ONCE, ge=1, description="atoms in a batch of predictions")

    @field_validator("systems", mode="before")
    @classmethod
    def _file_name(cls, value: object) -> object:
        return {"read_from": value} if isinstance(value, str | list) else value


@dataclass(frozen=True)
class Evaluation:
    """Hold what was found: metrics by name, their units, and the time per atom in seconds."""

    frames: int
    atoms: int
    metrics: dict[str, float]
    units: dict[str, str]
    seconds_per_atom: float
    predictions: list[ase.Atoms]

    def summary(self) -> str:
        """Write how much data there was, an error a line, and the time."""
        lines = [f"{self.frames} frames, {self.atoms} atoms"]
        for name, value in self.metrics.items():
            target, _, kind = name.rpartition("_")
            lines.append(f"{target:>8} {kind.upper():<4} {value:10.5g} {self.units[name]}")
        return "\n".join([*lines, f"{1e6 * self.seconds_per_atom:.1f} µs per atom"])

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write structures and predictions as extended XYZ."""
        write_predictions(path, self.predictions, overwrite=overwrite)


def read_structures(options: EvaluationOptions, folder: Path) -> list[Frame]:
    """Read the frames, with targets where there are any. Raises DataError naming file, frame and field."""
    if options.targets is not None:
        return read_frames(options.systems, options.targets.energy, folder).frames
    frames: list[Frame] = []
    for path in find_files(options.systems.read_from, folder):
        for number, atoms in enumerate(parse(path)):
            frames.append(_without_targets(atoms, options.systems, f"{path}, frame {number}"))
    return frames


def _without_targets(atoms: ase.Atoms, systems: SystemsOptions, where: str) -> Frame:
    length = LENGTH_UNITS[systems.length_unit]
    frame = Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.get_positions() * length,
        cell=np.asarray(atoms.cell.array) * length,
        periodic=np.asarray(atoms.pbc, dtype=bool),
        energy=None,
        forces=None,
        stress=None,
        where=where,
    )
    check_geometry(frame.positions, frame.cell, frame.periodic, where)
    return frame


def evaluate_engine(engine: Engine, frames: Sequence[Frame], options: EvaluationOptions) -> Evaluation:
    """Predict all frames in batches and compare with their targets.

    The time is that of prediction alone, neighbor lists included, after one batch that is not counted.
    """
    groups = list(_groups(frames, options.atoms_at_once))
    if groups:
        engine.predict(groups[0])
    found: list[Prediction] = []
    begin = time.perf_counter()
    for group in groups:
        found += engine.predict(group)
    seconds = time.perf_counter() - begin
    atoms = sum(len(frame.numbers) for frame in frames)
    metrics, units = _metrics(frames, found, options.targets)
    predictions = [predicted_atoms(frame, one) for frame, one in zip(frames, found, strict=True)]
    return Evaluation(len(frames), atoms, metrics, units, seconds / max(1, atoms), predictions)


def _groups(frames: Sequence[Frame], atoms_at_once: int) -> Iterator[list[Frame]]:
    """Divide the frames, in order, into batches of at most so many atoms, but at least one frame."""
    group: list[Frame] = []
    held = 0
    for frame in frames:
        if group and held + len(frame.numbers) > atoms_at_once:
            yield group
            group, held = [], 0
        group.append(frame)
        held += len(frame.numbers)
    if group:
        yield group


def _metrics(
    frames: Sequence[Frame], found: Sequence[Prediction], targets: TargetsOptions | None
) -> tuple[dict[str, float], dict[str, str]]:
    errors = {name: Errors() for name in ("energy", "forces", "stress")}
    for frame, one in zip(frames, found, strict=True):
        atoms = len(frame.numbers)
        if frame.energy is not None:
            error = torch.tensor([(one.energy - frame.energy) / atoms], dtype=torch.float64)
            errors["energy"].add(error, torch.ones(1))
        if frame.forces is not None:
            errors["forces"].add(torch.from_numpy(one.forces - frame.forces), torch.ones(atoms))
        if frame.stress is not None:
            errors["stress"].add(torch.from_numpy(_stress(frame, one) - frame.stress)[None], torch.ones(1))
    unit = targets.energy.unit if targets is not None else "eV"
    factor = 1.0 / ENERGY_UNITS[unit]
    names = {"energy": f"{unit}/atom", "forces": f"{unit}/Å", "stress": f"{unit}/Å³"}
    metrics: dict[str, float] = {}
    units: dict[str, str] = {}
    for name, error in errors.items():
        of_target = error.metrics(name, factor)
        metrics |= of_target
        units |= dict.fromkeys(of_target, names[name])
    return metrics, units


def _stress(frame: Frame, one: Prediction) -> np.ndarray:
    return 0.5 * (one.virial + one.virial.T) / abs(float(np.linalg.det(frame.cell)))


def predicted_atoms(frame: Frame, one: Prediction) -> ase.Atoms:
    """Return the structure with its predictions as results, in eV and Å; stress for periodic cells."""
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.periodic)
    results: dict[str, object] = {"energy": one.energy, "forces": one.forces, "energies": one.energies}
    if frame.periodic.all():
        results["stress"] = full_3x3_to_voigt_6_stress(_stress(frame, one))
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def write_predictions(path: Path, predictions: Sequence[ase.Atoms], *, overwrite: bool = False) -> None:
    """Write structures and predictions as extended XYZ. Raises OverwriteError, CommitError."""
    text = io.StringIO()
    ase.io.write(text, list(predictions), format="extxyz")
    data = text.getvalue().encode()

    def put(file: BinaryIO) -> None:
        file.write(data)

    atomic_write(path, put, overwrite=overwrite)
