"""Plain extended XYZ is read as ASE reads it; all else is left to ASE."""

import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest

from milepost.atoms.extended_xyz import read_plain
from milepost.atoms.reading import parse

ETHANOL = Path(__file__).parents[3] / "examples" / "ethanol" / "ethanol.xyz"
HEAD = "Properties=species:S:1:pos:R:3"
ROWS = "O 0.0 0.1 -2e-3\nh 1 .5 7.\n"

PLAIN = {
    "nothing more": f"2\n{HEAD}\n{ROWS}",
    "numbers": f'2\n{HEAD} energy=-1.25 charge=2 dipole="0 1 2.5" count="1 2" name=a/b.c-d\n{ROWS}',
    "a cell": f'2\nLattice="1 2 3 4 5.5 6 7 8 1e1" {HEAD}\n{ROWS}',
    "a slab": f'2\nLattice="9 0 0 0 9 0 0 0 9" {HEAD} pbc="T F T"\n{ROWS}',
    "no cell": f'2\n{HEAD} pbc="F F F"\n{ROWS}',
    "columns": f"2\n{HEAD}:forces:R:3:tags_of_mine:I:1:charges:R:1\nO 0 0 0 1 2 3 4 5.5\nH 0 0 1 -1 -2 -3 -4 -5\n",
    "frames": f"2\n{HEAD} energy=1\n{ROWS} 1 \n{HEAD}\nC 0 0 0\n\n  \n",
    "other line ends": f"2\r\n{HEAD}\r\n{ROWS}".replace("\n", "\r\n").replace("\r\r", "\r"),
}
LEFT = {
    "no properties": f"2\nenergy=1\n{ROWS}",
    "other columns first": "1\nProperties=pos:R:3:species:S:1\n0 0 0 H\n",
    "a mask": f"1\n{HEAD}:move_mask:L:1\nH 0 0 0 T\n",
    "stress": f'2\n{HEAD} stress="1 0 0 0 1 0 0 0 1"\n{ROWS}',
    "a truth": f"2\n{HEAD} relaxed=T\n{ROWS}",
    "no value": f"2\n{HEAD} relaxed\n{ROWS}",
    "not a number": f"2\n{HEAD} energy=nan\n{ROWS}",
    "words": f'2\n{HEAD} name="two words"\n{ROWS}',
    "nested": f'2\n{HEAD} name="a \\" b"\n{ROWS}',
    "json": f'2\n{HEAD} name="_JSON [1]"\n{ROWS}',
    "a key twice": f"2\n{HEAD} energy=1 energy=2\n{ROWS}",
    "no such element": f"1\n{HEAD}\nQq 0 0 0\n",
    "a short row": f"2\n{HEAD}\nO 0 0 0\nH 0 0\n",
    "a long row": f"2\n{HEAD}\nO 0 0 0 0\nH 0 0 0\n",
    "a missing row": f"3\n{HEAD}\n{ROWS}",
    "a word for a number": f"1\n{HEAD}:forces:R:1\nO 0 0 0 x\n",
    "cell vectors": f"1\n{HEAD}\nH 0 0 0\nVEC1 1 0 0\n",
    "a frame behind a gap": f"2\n{HEAD}\n{ROWS}\n2\n{HEAD}\n{ROWS}",
    "no count": f"two\n{HEAD}\n{ROWS}",
    "an umlaut": f"2\n{HEAD} name=größe\n{ROWS}",
}


def write(folder, text, name="a.xyz"):
    path = folder / name
    path.write_bytes(text.encode())
    return path


def contents(atoms):
    results = {} if atoms.calc is None else atoms.calc.results
    return {"info": atoms.info, "arrays": atoms.arrays, "results": results, "cell": {"cell": atoms.cell.array}}


def check_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.pbc.tolist() == b.pbc.tolist()
        mine, theirs = contents(a), contents(b)
        for place in theirs:
            assert list(mine[place]) == list(theirs[place]), place
            for key, value in theirs[place].items():
                found = mine[place][key]
                assert type(found) is type(value), key
                assert np.asarray(found).dtype == np.asarray(value).dtype, key
                assert np.array_equal(found, value), key


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files_are_read_as_ase_reads_them(name, tmp_path):
    path = write(tmp_path, PLAIN[name])
    found = read_plain(path)
    assert found
    check_same(found, ase.io.read(path, index=":"))


def test_the_example_is_read_as_ase_reads_it():
    found = read_plain(ETHANOL)
    assert found is not None
    check_same(found[::40], ase.io.read(ETHANOL, index="::40"))


@pytest.mark.parametrize("name", LEFT)
def test_what_is_not_plain_is_left_to_ase(name, tmp_path):
    assert read_plain(write(tmp_path, LEFT[name])) is None


@pytest.mark.parametrize("name", ["a.cif", "a@1.xyz", "a"])
def test_other_names_are_left_to_ase(name, tmp_path):
    assert read_plain(write(tmp_path, PLAIN["nothing more"], name)) is None


def test_a_file_that_is_not_there_is_left_to_ase(tmp_path):
    assert read_plain(tmp_path / "a.xyz") is None


def test_what_is_left_to_ase_is_read_all_the_same(tmp_path):
    assert len(parse(write(tmp_path, LEFT["a truth"]))) == 1


def test_plain_files_need_no_scipy(tmp_path):
    path = write(tmp_path, PLAIN["frames"])
    code = (
        "import sys; from pathlib import Path; import milepost.atoms.domain; from milepost.atoms.reading import parse\n"
        f"assert len(parse(Path({str(path)!r}))) == 2\n"
        "sys.exit(any(name in sys.modules for name in ('scipy', 'ase.io')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
