"""Read extended XYZ in its plain form, without the rest of ASE's readers.

Importing `ase.io` takes a third as long as importing torch, because it imports SciPy; a run that is continued should
not wait for that. Promise: what is returned is equal to what `ase.io.read(path, index=":")` returns. What is not plain
(quotes within quotes, stress, cell vectors in lines of their own, names that ASE treats in special ways, anything
malformed) is left to ASE, and so are all error messages.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.outputs import ArrayProperty, all_outputs

SUFFIXES = (".xyz", ".extxyz")
PAIR = re.compile(r'\s*([A-Za-z_]\w*)=(?:"([^"\\{}\[\]\',=]*)"|([^\s"\\{}\[\]\',=]+))(?=\s|$)')
PROPERTIES = re.compile(r"species:S:1:pos:R:3((?::[A-Za-z_]\w*:[RI]:[1-9])*)")
INTEGER = re.compile(r"[-+]?\d{1,18}")
REAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
SPECIAL = {"virial", "stress", "uid"}
"""Keys of a frame that ASE reads in ways of their own; Lattice, pbc and Properties are known here."""

SPECIAL_COLUMNS = {"Z", "charge", "move_mask", "initial_charges", "numbers", "positions", "symbols", "species", "pos"}
TRUTH = {"T": True, "F": False}
OF_A_FRAME = {
    name
    for name, kind in all_outputs.items()
    if name in all_properties and not (isinstance(kind, ArrayProperty) and kind.shapespec[0] == "natoms")
}
"""What ASE takes for the result of a calculation where it stands in a frame's comment."""


class _NotPlainError(Exception):
    """Leave the file to ASE."""


def read_plain(path: Path) -> list[Atoms] | None:
    """Read all frames of a file, or return None where only ASE can tell what it means."""
    if path.suffix not in SUFFIXES or "@" in str(path):
        return None
    try:
        data = path.read_bytes()
        if re.search(rb"[^\t\n\r\x20-\x7e]", data):
            return None
        return _frames(data.decode("ascii").splitlines())
    except (_NotPlainError, OSError, ValueError, OverflowError):
        return None


def _frames(lines: Sequence[str]) -> list[Atoms]:
    frames: list[Atoms] = []
    at = 0
    while at < len(lines) and lines[at].strip():
        if not re.fullmatch(r"\s*[1-9]\d*\s*", lines[at]):
            raise _NotPlainError
        rows = lines[at + 2 : at + 2 + int(lines[at])]
        if len(rows) < int(lines[at]):
            raise _NotPlainError
        frames.append(_frame(lines[at + 1].strip(), [row.split() for row in rows]))
        at += 2 + len(rows)
    if any(line.strip() for line in lines[at:]):
        raise _NotPlainError
    return frames


def _frame(comment: str, rows: list[list[str]]) -> Atoms:
    info = _pairs(comment)
    columns = PROPERTIES.fullmatch(info.pop("Properties", ""))
    if columns is None:
        raise _NotPlainError
    fields = columns[1].split(":")[1:]
    cell, periodic = _lattice(info)
    symbols = [row[0].capitalize() for row in rows]
    if not all(symbol in atomic_numbers for symbol in symbols):
        raise _NotPlainError
    width = 4 + sum(int(count) for count in fields[2::3])
    if any(len(row) != width for row in rows):
        raise _NotPlainError
    arrays, results = _arrays(fields, rows)
    values = {key: _value(text) for key, text in info.items()}
    results |= {key: value for key, value in values.items() if key in OF_A_FRAME}
    atoms = Atoms(
        symbols,
        positions=np.array([row[1:4] for row in rows], dtype=np.float64),
        cell=cell,
        pbc=periodic,
        info={key: value for key, value in values.items() if key not in OF_A_FRAME},
    )
    for name, array in arrays.items():
        atoms.new_array(name, array)
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _pairs(comment: str) -> dict[str, str]:
    """Divide a comment into key=value; every character must belong to one."""
    found: dict[str, str] = {}
    at = 0
    while at < len(comment):
        match = PAIR.match(comment, at)
        if match is None or match[1] in found or match[1] in SPECIAL:
            raise _NotPlainError
        found[match[1]] = match[2] if match[2] is not None else match[3]
        at = match.end()
    return found


def _lattice(info: dict[str, str]) -> tuple[Any, Any]:
    """Take cell and periodicity out of a frame's pairs: three vectors one after another, T and F."""
    vectors, truth = info.pop("Lattice", None), info.pop("pbc", None)
    cell = None
    if vectors is not None:
        numbers = vectors.split()
        if len(numbers) != 9 or not all(REAL.fullmatch(number) for number in numbers):
            raise _NotPlainError
        cell = np.array(numbers, dtype=np.float64).reshape(3, 3)
    if truth is None:
        return cell, None if cell is None else [True, True, True]
    words = truth.split()
    if len(words) != 3 or not all(word in TRUTH for word in words):
        raise _NotPlainError
    return cell, [TRUTH[word] for word in words]


def _arrays(fields: list[str], rows: list[list[str]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cut the columns behind the positions into arrays, those of results apart from the others."""
    arrays: dict[str, Any] = {}
    results: dict[str, Any] = {}
    at = 4
    for name, kind, count in zip(fields[::3], fields[1::3], map(int, fields[2::3]), strict=True):
        if name in SPECIAL_COLUMNS or name in arrays or name in results:
            raise _NotPlainError
        pattern = REAL if kind == "R" else INTEGER
        cut = [row[at : at + count] for row in rows]
        if not all(pattern.fullmatch(text) for row in cut for text in row):
            raise _NotPlainError
        array = np.array(cut, dtype=np.float64 if kind == "R" else np.int32)
        target = results if name in all_properties else arrays
        target[name] = array[:, 0] if count == 1 else array
        at += count
    return arrays, results


def _value(text: str) -> Any:
    """Read a value as ASE does: whole numbers, then numbers, then a word that is neither a number nor a truth."""
    words = text.split()
    for pattern, kind in ((INTEGER, int), (REAL, float)):
        if words and all(pattern.fullmatch(word) for word in words):
            numbers = np.array(words, dtype=kind)
            return numbers[0] if len(numbers) == 1 else numbers
    if len(words) == 1 and re.fullmatch(r"[A-Za-z][\w./:-]*", text) and text.lower() not in NOT_WORDS:
        return text
    raise _NotPlainError


NOT_WORDS = {"t", "f", "true", "false", "nan", "inf", "infinity"}
