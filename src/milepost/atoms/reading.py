"""Read structures and targets from files, and refuse frames that would poison a model.

Every frame is checked before training starts. A bad one stops the run with the file, the frame's number (from
0), the field, what was expected and what was found; nothing is dropped in silence.
"""

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols
from blake3 import blake3
from numpy.typing import NDArray

from milepost.atoms.extended_xyz import read_plain
from milepost.atoms.options import ENERGY_UNITS, LENGTH_UNITS, EnergyOptions, SystemsOptions
from milepost.errors import DataError

CLOSEST_PAIR = 0.3
"""Distance [Å] below which two atoms overlap: less than half of the shortest bond there is (H2, 0.74 Å)."""

FLATTEST_CELL = 1e-6
"""Volume [Å³] below which a cell is taken as having none."""

READER_ERRORS = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    AssertionError, RuntimeError, ImportError, StopIteration, EOFError, SyntaxError,
)  # fmt: skip
"""What ASE's readers raise on files that are damaged, foreign, or in need of a library that is absent, besides its own
ParseError.
"""


@dataclass(frozen=True)
class Frame:
    """Hold one structure and its targets.

    Shapes and units: positions [atoms, 3] and cell [3, 3] in Å, energy in eV, forces [atoms, 3] in eV/Å,
    stress [3, 3] in eV/Å³ (ASE's sign); None where there is no such target. `where` names file and frame for
    messages.
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
    """Hold the frames of a set of files, with the digest of each file.

    `origins` names each frame by its file's digest and its number there: two frames of equal origin are the
    same.
    """

    frames: list[Frame]
    origins: list[tuple[str, int]]
    digests: dict[str, str]


def find_files(patterns: str | list[str], folder: Path) -> list[Path]:
    """List the files that names or globs mean, sorted within each glob; relative to the folder.

    Raises DataError when a name or glob means no file, or when two of them mean the same one, whose frames
    would count twice.
    """
    found: list[Path] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        try:
            paths = _matches(pattern, folder)
        except OSError as error:  # a file system that is mounted, and does not answer
            raise DataError(
                f"could not read structures from '{pattern}': {error.strerror}. "
                "Make its folder available again; a run that was stopped can then be continued."
            ) from error
        if not paths:
            raise DataError(
                f"could not read structures from '{pattern}': no such file in {folder.resolve()}. "
                "Correct 'systems.read_from' in the options; paths are relative to the working directory."
            )
        twice = [path for path in paths if path in found]
        if twice:
            raise DataError(
                f"could not read structures from '{pattern}': expected every file once, "
                f"found '{twice[0]}' twice. Correct 'systems.read_from' in the options."
            )
        found.extend(paths)
    return found


def _matches(pattern: str, folder: Path) -> list[Path]:
    """List the files of one name or glob; a name that exists is taken as it is, whatever signs it has."""
    path = folder / Path(pattern).expanduser()
    if path.is_file():
        return [path]
    # Unlike Path.glob, this passes over hidden files and takes absolute patterns.
    names = glob.glob(str(Path(pattern).expanduser()), root_dir=folder, recursive=True)  # noqa: PTH207
    return sorted(folder / name for name in names if (folder / name).is_file())


def read_frames(systems: SystemsOptions, energy: EnergyOptions, folder: Path) -> Source:
    """Read and check every frame of the files.

    Raises DataError naming file, frame and field when a file can't be parsed, a key is missing, a number is
    not finite, a periodic cell has no volume, or atoms overlap.
    """
    frames: list[Frame] = []
    origins: list[tuple[str, int]] = []
    digests: dict[str, str] = {}
    for path in find_files(systems.read_from, folder):
        digests[str(path)] = f"blake3:{blake3(_bytes(path)).hexdigest()}"
        for number, atoms in enumerate(parse(path)):
            frames.append(_frame(atoms, systems, energy, f"{path}, frame {number}"))
            origins.append((digests[str(path)], number))
    return Source(frames, origins, digests)


def parse(path: Path) -> list[ase.Atoms]:
    """Read all structures of one file as ASE does."""
    if path.is_file() and path.stat().st_size == 0:
        raise _empty(path)
    plain = read_plain(path)
    if plain:
        return plain
    import ase.io  # imports SciPy: only where it is needed
    from ase.io.formats import UnknownFileTypeError

    try:
        structures = ase.io.read(path, index=":")
    except UnknownFileTypeError as error:
        raise DataError(
            f"could not read structures from '{path}': ASE knows no format of that name. "
            "Use extended XYZ (.xyz or .extxyz)."
        ) from error
    except (ase.io.ParseError, *READER_ERRORS) as error:
        raise DataError(
            f"could not read structures from '{path}': ASE stopped with {type(error).__name__}: {error}. "
            "Check that the file is whole and in a format that ASE knows by its name."
        ) from error
    if not isinstance(structures, list) or not structures:
        raise _empty(path)
    return structures


def _bytes(path: Path) -> bytes:
    """Read a file whole; the operating system's refusal is an error of the data."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"could not read structures from '{path}': {error.strerror}. Make the file readable."
        ) from error


def _empty(path: Path) -> DataError:
    return DataError(
        f"could not read structures from '{path}': expected at least 1 frame, found 0. "
        "Remove the file from 'systems.read_from' in the options or write it again."
    )


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
        raise DataError(
            f"{where}, field '{stress_key}': expected a fully periodic cell, "
            f"found pbc {frame.periodic.tolist()}. Remove the frame or set 'stress' to false in the options."
        )
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
        raise DataError(
            f"{where}, field '{key}': expected numbers, found {value.dtype}. "
            "Name another key under 'targets' in the options or repair the file."
        )
    flat = value.ndim <= 1 and value.size == int(np.prod(shape))
    if value.shape != shape and not flat:
        raise DataError(
            f"{where}, field '{key}': expected shape {shape}, found {value.shape}. "
            "Name another key under 'targets' in the options or repair the file."
        )
    if not np.isfinite(value).all():
        raise DataError(
            f"{where}, field '{key}': expected finite numbers, found {_first_bad(value)}. Remove or repair the frame."
        )
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
        raise DataError(f"{where}, field 'positions': expected at least 1 atom, found 0. Remove the frame.")
    for name, values in (("positions", positions), ("cell", cell)):
        if not np.isfinite(values).all():
            raise DataError(
                f"{where}, field '{name}': expected finite numbers, found {_first_bad(values)}. "
                "Remove or repair the frame."
            )
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
        raise DataError(
            f"{where}, field 'species': expected only {' '.join(chemical_symbols[n] for n in known)}, "
            f"found {' '.join(chemical_symbols[n] for n in unknown)}. "
            "Remove the frame or train a model with these elements."
        )


def _first_bad(values: NDArray[np.float64]) -> str:
    """Name the first entry that is not finite."""
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0]) if values.ndim else ()
    return f"{values[index]} at {list(index)}" if index else str(values)
