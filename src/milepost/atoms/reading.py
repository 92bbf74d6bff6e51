"""Read structures and targets from files, and refuse frames that would poison a model.

Every frame is checked before training starts. A bad one stops the run with the file, the frame's number (from 0), the
field, what was expected and what was found; nothing is dropped in silence.
"""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from milepost.atoms.options import ENERGY_UNITS, LENGTH_UNITS, EnergyOptions, SystemsOptions
from milepost.errors import DataError

CLOSEST_PAIR = 0.3
"""Distance [Å] below which two atoms overlap: less than half of the shortest bond there is (H2, 0.74 Å)."""

FLATTEST_CELL = 1e-6
"""Volume [Å³] below which a cell is taken as having none."""


@dataclass(frozen=True)
class Frame:
    """Hold one structure and its targets.

    Shapes and units: positions [atoms, 3] and cell [3, 3] in Å, energy in eV, forces [atoms, 3] in eV/Å, stress [3, 3]
    in eV/Å³ (ASE's sign); None where there is no such target. `where` names file and frame for messages.
    """

    numbers: NDArray[np.int64]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]
    energy: float | None
    forces: NDArray[np.float64] | None
    stress: NDArray[np.float64] | None
    where: str


@dataclass(frozen=True)
class Source:
    """Hold the frames of a set of files, with the digest of each file."""

    frames: list[Frame]
    digests: dict[str, str]


def find_files(patterns: str | list[str], folder: Path) -> list[Path]:
    """List the files that names or globs mean, sorted within each glob; relative to the folder."""
    found: list[Path] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        full = str(folder / Path(pattern).expanduser())
        paths = sorted(Path(p) for p in glob.glob(full, recursive=True)) if glob.has_magic(full) else [Path(full)]
        missing = not paths or not all(path.is_file() for path in paths)
        if missing:
            raise DataError(
                f"could not read structures from '{pattern}': no such file in {folder.resolve()}. "
                "Correct 'systems.read_from' in the options; paths are relative to the working directory."
            )
        found.extend(paths)
    return found


def read_frames(systems: SystemsOptions, energy: EnergyOptions, folder: Path) -> Source:
    """Read and check every frame of the files.

    Raises DataError naming file, frame and field when a file can't be parsed, a key is missing, a number is not
    finite, a periodic cell has no volume, or atoms overlap.
    """
    frames: list[Frame] = []
    digests: dict[str, str] = {}
    for path in find_files(systems.read_from, folder):
        digests[str(path)] = f"blake3:{blake3(path.read_bytes()).hexdigest()}"
        for number, atoms in enumerate(parse(path)):
            frames.append(_frame(atoms, systems, energy, f"{path}, frame {number}"))
    return Source(frames, digests)


def parse(path: Path) -> list[ase.Atoms]:
    """Read all structures of one file with ASE."""
    try:
        structures = ase.io.read(path, index=":")
    except (OSError, ValueError, KeyError, IndexError, StopIteration, SyntaxError, AttributeError) as error:
        raise DataError(
            f"could not read structures from '{path}': ASE stopped with {type(error).__name__}: {error}. "
            "Check that the file is whole and in a format that ASE knows by its name."
        ) from error
    except ase.io.formats.UnknownFileTypeError as error:
        raise DataError(
            f"could not read structures from '{path}': ASE knows no format of that name. "
            "Use extended XYZ (.xyz or .extxyz)."
        ) from error
    if not isinstance(structures, list) or not structures:
        raise DataError(f"could not read structures from '{path}': expected at least 1 frame, found 0.")
    return structures


def _frame(atoms: ase.Atoms, systems: SystemsOptions, energy: EnergyOptions, where: str) -> Frame:
    length = LENGTH_UNITS[systems.length_unit]
    unit = ENERGY_UNITS[energy.unit]
    forces_key, stress_key = energy.forces_key(), energy.stress_key()
    frame = Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.get_positions() * length,
        cell=np.asarray(atoms.cell.array) * length,
        periodic=np.asarray(atoms.pbc, dtype=bool),
        energy=float(_value(atoms, energy.key, (), where)) * unit,
        forces=None if not forces_key else _value(atoms, forces_key, (len(atoms), 3), where) * (unit / length),
        stress=None if not stress_key else _stress(atoms, stress_key, where) * (unit / length**3),
        where=where,
    )
    check_geometry(frame.positions, frame.cell, frame.periodic, where)
    if stress_key and not frame.periodic.all():
        raise DataError(f"{where}, field '{stress_key}': expected a fully periodic cell, found pbc {atoms.pbc}.")
    return frame


def _value(atoms: ase.Atoms, key: str, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """Find a target by its key and check its shape and its numbers."""
    results: dict[str, Any] = atoms.calc.results if atoms.calc is not None else {}
    for place in (atoms.info, atoms.arrays, results):
        if key in place:
            value = np.asarray(place[key])
            break
    else:
        known = sorted({*atoms.info, *atoms.arrays, *results} - {"numbers", "positions"})
        raise DataError(
            f"{where}, field '{key}': expected a value under this key, found the keys {known}. "
            "Name the right key under 'targets' in the options."
        )
    if value.dtype.kind not in "iuf":
        raise DataError(f"{where}, field '{key}': expected numbers, found {value.dtype}.")
    if value.size != int(np.prod(shape)) and value.shape != shape:
        raise DataError(f"{where}, field '{key}': expected shape {shape}, found {value.shape}.")
    if not np.isfinite(value).all():
        raise DataError(f"{where}, field '{key}': expected finite numbers, found {_first_bad(value)}.")
    return value.astype(np.float64).reshape(shape)


def _stress(atoms: ase.Atoms, key: str, where: str) -> NDArray[np.float64]:
    """Read a stress as a full matrix, from nine numbers or from six in Voigt order xx yy zz yz xz xy."""
    results: dict[str, Any] = atoms.calc.results if atoms.calc is not None else {}
    stored = atoms.info.get(key, results.get(key))
    if stored is not None and np.size(stored) == 6:
        xx, yy, zz, yz, xz, xy = _value(atoms, key, (6,), where)
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return _value(atoms, key, (3, 3), where)


def check_geometry(
    positions: NDArray[np.float64], cell: NDArray[np.float64], periodic: NDArray[np.bool_], where: str
) -> None:
    """Refuse a structure that has no atoms, no finite positions, or a periodic cell without volume."""
    if len(positions) == 0:
        raise DataError(f"{where}, field 'positions': expected at least 1 atom, found 0.")
    for name, values in (("positions", positions), ("cell", cell)):
        if not np.isfinite(values).all():
            raise DataError(f"{where}, field '{name}': expected finite numbers, found {_first_bad(values)}.")
    lattice = np.where(periodic[:, None], cell, 0.0)[periodic]
    if periodic.any() and np.sqrt(max(np.linalg.det(lattice @ lattice.T), 0.0)) < FLATTEST_CELL:
        raise DataError(
            f"{where}, field 'cell': expected independent lattice vectors along the periodic directions "
            f"{periodic.tolist()}, found {cell.tolist()}. Set pbc to F or give the cell."
        )


def check_overlap(closest: float, where: str) -> None:
    """Refuse a structure whose closest pair [Å] overlaps."""
    if closest < CLOSEST_PAIR:
        raise DataError(
            f"{where}, field 'positions': expected atoms at least {CLOSEST_PAIR} Å apart, "
            f"found a pair at {closest:.4f} Å. Remove or repair the frame."
        )


def check_species(numbers: NDArray[np.int64], known: list[int], where: str) -> None:
    """Refuse a structure with an element that the model was not made for."""
    unknown = sorted(set(numbers.tolist()) - set(known))
    if unknown:
        symbols = ase.data.chemical_symbols
        raise DataError(
            f"{where}, field 'species': expected only {' '.join(symbols[n] for n in known)}, "
            f"found {' '.join(symbols[n] for n in unknown)}. Remove the frame or train a model with these elements."
        )


def _first_bad(values: NDArray[np.float64]) -> str:
    """Name the first entry that is not finite."""
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0]) if values.ndim else ()
    return f"{values[index]} at {list(index)}" if index else str(values)
