"""Structures are read with their units, and a bad frame is refused with file, frame and field."""

import errno
import re
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest

from frames import SPECIES, crystal, frame, labelled, molecule, write
from milepost.atoms.dataset import Structures
from milepost.atoms.options import (
    ENERGY_UNITS,
    LENGTH_UNITS,
    DerivativeOptions,
    EnergyOptions,
    SystemsOptions,
)
from milepost.atoms.reading import CLOSEST_PAIR, Source, find_files, read_frames
from milepost.errors import DataError

HARTREE = 27.211386245988
BOHR = 0.529177210903
REPAIR = "Remove or repair the frame."
RENAME = "Name another key under 'targets' in the options or repair the file."


def read(path: Path, **energy: Any) -> Source:
    return read_frames(SystemsOptions(read_from=path.name), EnergyOptions(**energy), path.parent)


def refusal(path: Path, **energy: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **energy)
    return str(caught.value)


def write_bad(path: Path, bad: ase.Atoms) -> Path:
    """Write a sound frame and then a bad one."""
    return write(path, [labelled(molecule()), bad])


# What is read


def test_numbers_arrive_as_they_were_written(tmp_path: Path) -> None:
    atoms = [labelled(molecule(seed, atoms=3 + seed), seed) for seed in range(3)]
    source = read(write(tmp_path / "a.xyz", atoms))
    assert [f.where for f in source.frames] == [f"{tmp_path}/a.xyz, frame {i}" for i in range(3)]
    for given, found in zip(atoms, source.frames, strict=True):
        assert found.numbers.tolist() == given.numbers.tolist()
        np.testing.assert_allclose(found.positions, given.positions, atol=1e-8)
        assert found.energy == pytest.approx(given.calc.results["energy"])
        assert found.forces is not None
        np.testing.assert_allclose(found.forces, given.calc.results["forces"], atol=1e-8)
        assert found.stress is None
        assert not found.periodic.any()


def test_units_are_converted_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", [labelled(crystal())])
    plain = read(path, stress=True).frames[0]
    systems = SystemsOptions(read_from="a.xyz", length_unit="bohr")
    atomic = read_frames(systems, EnergyOptions(unit="Hartree", stress=True), tmp_path).frames[0]
    assert plain.energy is not None
    assert plain.forces is not None
    assert plain.stress is not None
    assert atomic.energy == pytest.approx(plain.energy * HARTREE, rel=1e-14)
    np.testing.assert_allclose(atomic.positions, plain.positions * BOHR, rtol=1e-14)
    np.testing.assert_allclose(atomic.cell, plain.cell * BOHR, rtol=1e-14)
    np.testing.assert_allclose(atomic.forces, plain.forces * HARTREE / BOHR, rtol=1e-14)
    np.testing.assert_allclose(atomic.stress, plain.stress * HARTREE / BOHR**3, rtol=1e-14)


def test_energies_of_every_unit_arrive_in_electronvolts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", [labelled(molecule(), energy=7.0)])
    for unit, electronvolts in ENERGY_UNITS.items():
        found = read(path, unit=unit).frames[0].energy
        assert found == pytest.approx(7 * electronvolts, rel=1e-14)


def test_units_are_those_of_the_si() -> None:
    # Exact since 2019: the elementary charge [C] and the Avogadro constant [1/mol]; 4.184 J are a calorie.
    joule = 1 / 1.602176634e-19
    mole = 6.02214076e23
    expected = {
        "eV": 1,
        "meV": 1e-3,
        "Hartree": HARTREE,
        "kJ/mol": 1e3 * joule / mole,
        "kcal/mol": 4184 * joule / mole,
    }
    assert pytest.approx(expected, rel=1e-13) == ENERGY_UNITS
    assert pytest.approx({"angstrom": 1, "bohr": BOHR, "nm": 10}) == LENGTH_UNITS


def test_targets_have_the_names_that_options_give(tmp_path: Path) -> None:
    atoms = molecule()
    atoms.info["E_dft"] = 3.0
    atoms.arrays["F_dft"] = np.ones((len(atoms), 3))
    found = read(write(tmp_path / "a.xyz", [atoms]), key="E_dft", forces=DerivativeOptions(key="F_dft")).frames[0]
    assert found.energy == 3.0
    assert found.forces is not None
    assert (found.forces == 1).all()
    assert read(tmp_path / "a.xyz", key="E_dft", forces=False).frames[0].forces is None


def test_stress_is_read_from_six_numbers_and_from_nine(tmp_path: Path) -> None:
    matrix = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    six, nine = crystal(), crystal()
    six.info |= {"energy_": 0.0, "S": np.arange(1.0, 7.0)}
    nine.info |= {"energy_": 0.0, "S": matrix}
    path = write(tmp_path / "a.xyz", [six, nine])
    for found in read(path, key="energy_", forces=False, stress=DerivativeOptions(key="S")).frames:
        assert found.stress is not None
        np.testing.assert_array_equal(found.stress, matrix)


def test_other_formats_of_ase_are_read(tmp_path: Path) -> None:
    atoms = labelled(molecule())
    ase.io.write(tmp_path / "a.traj", [atoms, atoms])
    source = read(tmp_path / "a.traj")
    assert len(source.frames) == 2
    np.testing.assert_array_equal(source.frames[1].forces, atoms.calc.results["forces"])


# Which files are read


def test_globs_are_sorted_lists_keep_their_order(tmp_path: Path) -> None:
    for name in ("b.xyz", "a.xyz", "c.xyz", ".hidden.xyz"):
        write(tmp_path / name, [labelled(molecule())])
    (tmp_path / "folder.xyz").mkdir()
    names = lambda patterns: [p.name for p in find_files(patterns, tmp_path)]  # noqa: E731
    assert names("*.xyz") == ["a.xyz", "b.xyz", "c.xyz"]
    assert names(["c.xyz", "[ab].xyz"]) == ["c.xyz", "a.xyz", "b.xyz"]
    assert names("**/a.xyz") == ["a.xyz"]
    assert names(str(tmp_path / "a.*")) == ["a.xyz"]
    source = read_frames(SystemsOptions(read_from="[ab].xyz"), EnergyOptions(), tmp_path)
    assert [f.where for f in source.frames] == [f"{tmp_path}/a.xyz, frame 0", f"{tmp_path}/b.xyz, frame 0"]


def test_brackets_in_names_that_exist_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]"
    folder.mkdir()
    write(folder / "a[2].xyz", [labelled(molecule())])
    assert find_files("a[2].xyz", folder) == [folder / "a[2].xyz"]
    assert find_files("*.xyz", folder) == [folder / "a[2].xyz"]


@pytest.mark.parametrize("pattern", ["*.xyz", "no.xyz", "no/*.xyz", "."])
def test_a_name_or_glob_without_a_file_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DataError) as caught:
        find_files(pattern, tmp_path)
    assert str(caught.value) == (
        f"could not read structures from '{pattern}': no such file in {tmp_path}. "
        "Correct 'systems.read_from' in the options; paths are relative to the working directory."
    )


def test_a_file_system_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(path: Path) -> bool:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Path, "is_file", dead)
    with pytest.raises(DataError, match=r"could not read structures from 'far/a\.xyz': Transport endpoint"):
        find_files("far/a.xyz", tmp_path)


def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.xyz", [labelled(molecule())])
    expected = f"'*.xyz': expected every file once, found '{tmp_path}/a.xyz' twice. Correct 'systems.read_from'"
    with pytest.raises(DataError, match=re.escape(expected)):
        find_files(["a.xyz", "*.xyz"], tmp_path)


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.unheard"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert refusal(tmp_path / name) == (
        f"could not read structures from '{tmp_path / name}': expected at least 1 frame, found 0. "
        "Remove the file from 'systems.read_from' in the options or write it again."
    )


UNREADABLE = {
    "cut.xyz": (
        b"3\nProperties=species:S:1:pos:R:3\nH 0 0 0\nH 0 0 1\n",
        "XYZError: ase.io.extxyz: Frame has 2 atoms",
    ),
    "word.xyz": (
        b"1\nProperties=species:S:1:pos:R:3\nH a 0 0\n",
        "ValueError: could not convert string to float: 'a'",
    ),
    "column.xyz": (
        b"1\nProperties=species:S:1:pos:R:3:forces:R:3\nH 0 0 0\n",
        "ValueError: could not assign",
    ),
    "element.xyz": (b"1\nProperties=species:S:1:pos:R:3\nQq 0 0 0\n", "KeyError: 'Qq'"),
    "bytes.xyz": (bytes(range(256)), "UnicodeDecodeError: 'utf-8' codec can't decode"),
    "other.traj": (b"zzzz", "InvalidULMFileError: This is not an ULM formatted file"),
    "other.json": (b"{", "JSONDecodeError: Expecting property name"),
    "other.cif": (b"zzz", "AssertionError: "),
    "POSCAR": (b"x\n1\n", "IndexError: list index out of range"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path, name: str) -> None:
    content, reason = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert message.startswith(f"could not read structures from '{tmp_path / name}': ASE stopped with {reason}")
    assert message.endswith(". Check that the file is whole and in a format that ASE knows by its name.")


def test_a_format_that_ase_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.unheard").write_bytes(b"abc")
    assert refusal(tmp_path / "a.unheard") == (
        f"could not read structures from '{tmp_path}/a.unheard': ASE knows no format of that name. "
        "Use extended XYZ (.xyz or .extxyz)."
    )


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.xyz", [labelled(molecule())])

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    expected = f"could not read structures from '{path}': Permission denied. Make the file readable."
    assert refusal(path) == expected


# Which frames are refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energy": np.nan}, f"field 'energy': expected finite numbers, found nan. {REPAIR}"),
        ({"energy": np.inf}, f"field 'energy': expected finite numbers, found inf. {REPAIR}"),
        (
            {"forces": np.diag([0, np.nan, 0])},
            f"field 'forces': expected finite numbers, found nan at [1, 1]. {REPAIR}",
        ),
        (
            {"forces": np.diag([0, 0, -np.inf])},
            f"field 'forces': expected finite numbers, found -inf at [2, 2]. {REPAIR}",
        ),
    ],
    ids=["NaN energy", "infinite energy", "NaN force", "infinite force"],
)
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_bad(tmp_path / "a.xyz", labelled(molecule(1, atoms=3), **change))
    assert refusal(path) == f"{path}, frame 1, {message}"


def test_positions_and_cells_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    atoms = labelled(molecule(1, atoms=3))
    atoms.positions[2, 0] = np.nan
    path = write_bad(tmp_path / "a.xyz", atoms)
    assert (
        refusal(path) == f"{path}, frame 1, field 'positions': expected finite numbers, found nan at [2, 0]. {REPAIR}"
    )
    atoms = labelled(crystal())
    atoms.cell[1, 1] = np.inf
    path = write_bad(tmp_path / "b.xyz", atoms)
    assert refusal(path) == f"{path}, frame 1, field 'cell': expected finite numbers, found inf at [1, 1]. {REPAIR}"


def test_a_missing_key_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xyz", [labelled(molecule())])
    assert refusal(path, key="energi") == (
        f"{path}, frame 0, field 'energi': expected a value under this key, "
        "found the keys ['energy', 'forces']. Name the right key under 'targets' in the options."
    )
    assert f"{path}, frame 0, field 'F': expected a value" in refusal(path, forces=DerivativeOptions(key="F"))
    assert f"{path}, frame 0, field 'stress': expected a value" in refusal(path, stress=True)


def test_targets_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    atoms = molecule()
    atoms.info["E"] = "low"
    path = write(tmp_path / "a.xyz", [atoms])
    message = refusal(path, key="E")
    assert message.startswith(f"{path}, frame 0, field 'E': expected numbers, found <U")
    assert message.endswith(f". {RENAME}")


@pytest.mark.parametrize("shape", [(4, 2), (3, 4), (4,)], ids=str)
def test_targets_of_a_wrong_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    atoms = molecule(atoms=4)
    place = atoms.arrays if shape[0] == 4 else atoms.info
    place["F"] = np.zeros(shape)
    atoms.info["energy_"] = 0.0
    path = write(tmp_path / "a.xyz", [atoms])
    found = refusal(path, key="energy_", forces=DerivativeOptions(key="F"))
    assert found == f"{path}, frame 0, field 'F': expected shape (4, 3), found {shape}. {RENAME}"


def test_an_energy_per_atom_is_no_energy(tmp_path: Path) -> None:
    atoms = molecule(atoms=4)
    atoms.arrays["energies_"] = np.zeros(4)
    path = write(tmp_path / "a.xyz", [atoms])
    assert refusal(path, key="energies_") == (
        f"{path}, frame 0, field 'energies_': expected shape (), found (4,). {RENAME}"
    )


@pytest.mark.parametrize("periodic", ["FFF", "TTF", "FTF"])
def test_stress_without_full_periodicity_is_refused(tmp_path: Path, periodic: str) -> None:
    atoms = crystal()
    atoms.pbc = [p == "T" for p in periodic]
    path = write_bad(tmp_path / "a.xyz", labelled(atoms, stress=np.ones(6)))
    write(path, [labelled(crystal()), ase.io.read(path, index=1)])
    found = [p == "T" for p in periodic]
    assert refusal(path, stress=True) == (
        f"{path}, frame 1, field 'stress': expected a fully periodic cell, found pbc {found}. "
        "Remove the frame or set 'stress' to false in the options."
    )


@pytest.mark.parametrize(
    ("cell", "periodic"),
    [
        (np.zeros((3, 3)), "TTT"),
        (np.diag([3.0, 3.0, 0.0]), "TTT"),
        (np.array([[3.0, 0, 0], [3.0, 0, 0], [0, 0, 3.0]]), "TTF"),
        (np.diag([0.0, 3.0, 3.0]), "TFF"),
    ],
    ids=["none", "flat", "parallel vectors", "wire along nothing"],
)
def test_a_periodic_cell_without_volume_is_refused(tmp_path: Path, cell: np.ndarray, periodic: str) -> None:
    atoms = molecule()
    atoms.cell, atoms.pbc = cell, [p == "T" for p in periodic]
    ase.io.write(tmp_path / "a.traj", [labelled(molecule()), labelled(atoms)])
    path = tmp_path / "a.traj"
    assert refusal(path) == (
        f"{path}, frame 1, field 'cell': expected independent lattice vectors along the periodic directions "
        f"{[p == 'T' for p in periodic]}, found {cell.tolist()}. Set pbc to F or give the cell."
    )


@pytest.mark.parametrize("periodic", ["FFF", "TFF", "TTF"])
def test_a_cell_needs_volume_only_where_it_is_periodic(tmp_path: Path, periodic: str) -> None:
    atoms = molecule()
    atoms.pbc = [p == "T" for p in periodic]
    atoms.cell = np.diag([9.0 * (p == "T") for p in periodic])
    ase.io.write(tmp_path / "a.traj", labelled(atoms))
    assert len(read(tmp_path / "a.traj").frames) == 1


def test_a_frame_without_atoms_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.xyz"
    path.write_text("0\nProperties=species:S:1:pos:R:3 energy=1.0\n")
    expected = f"{path}, frame 0, field 'positions': expected at least 1 atom, found 0. Remove the frame."
    assert refusal(path, forces=False) == expected


@pytest.mark.parametrize("distance", [0.0, 0.05, CLOSEST_PAIR - 1e-9])
def test_overlapping_atoms_are_refused(distance: float) -> None:
    atoms = labelled(ase.Atoms("HHO", positions=[[0, 0, 0], [2.0, 0, 0], [2.0 + distance, 0, 0]]))
    with pytest.raises(DataError) as caught:
        Structures([frame(atoms, "a.xyz, frame 7")], 3.0, SPECIES)
    assert str(caught.value) == (
        f"a.xyz, frame 7, field 'positions': expected atoms at least 0.3 Å apart, "
        f"found a pair at {distance:.4f} Å. Remove or repair the frame."
    )


def test_an_atom_that_overlaps_its_own_image_is_refused() -> None:
    atoms = labelled(ase.Atoms("H", cell=np.diag([0.2, 5, 5]), pbc=True))
    with pytest.raises(DataError, match=r"a.xyz, frame 7, field 'positions': .* found a pair at 0\.2000 Å"):
        Structures([frame(atoms, "a.xyz, frame 7")], 3.0, SPECIES)


def test_species_that_the_model_does_not_know_are_refused() -> None:
    atoms = labelled(ase.Atoms("HSiN", positions=np.diag([0.0, 2, 4])))
    with pytest.raises(DataError) as caught:
        Structures([frame(labelled(molecule())), frame(atoms, "a.xyz, frame 7")], 3.0, SPECIES)
    assert str(caught.value) == (
        "a.xyz, frame 7, field 'species': expected only H C O, found N Si. "
        "Remove the frame or train a model with these elements."
    )
