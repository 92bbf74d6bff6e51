"""Both kinds of exported file, made and used from the command line, tell nothing of the machine they were made on."""

import getpass
import os
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator

import tiny
from lifecycle.runs import command
from milepost.run.compiling import compiler_present

KINDS = ("pt", "pt2")
USER = "some-body-else"


@dataclass(frozen=True)
class Workplace:
    """Hold where a user works: folders of peculiar names, so that any of them is found wherever it turns up."""

    root: Path

    @property
    def working(self) -> Path:
        return self.root / "working-folder"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
        own = {"HOME": f"{self.root}/home-folder", "TMPDIR": f"{self.root}/temporary-folder"}
        return kept | own | dict.fromkeys(("LOGNAME", "USER"), USER)

    def milepost(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `milepost` in a process of its own."""
        return subprocess.run(
            command(*arguments), cwd=self.working, env=self.environment, capture_output=True, text=True, check=False
        )

    def traces(self) -> dict[str, str]:
        """Name what must not be told, with what it is."""
        return {
            "home-folder": "the home folder",
            "working-folder": "the working folder",
            "temporary-folder": "the temporary folder",
            USER: "the user",
            str(self.root): "the folder of this test",
            str(Path(torch.__file__).parents[1]): "where torch is installed",
            str(Path(tiny.__file__).parents[1]): "the source",
            str(Path.home()) + "/": "the home folder of whoever runs the tests",
            f"_{getpass.getuser()}/": "the user who runs the tests",
        }


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Make a checkpoint's exported files and data to evaluate them on."""
    place = Workplace(tmp_path_factory.mktemp("workplace"))
    for name in ("home-folder", "temporary-folder", "working-folder"):
        (place.root / name).mkdir()
    shutil.copy(tiny.checkpoint(1), place.working / "model.ckpt")
    atoms = tiny.ethanol()
    atoms.calc = SinglePointCalculator(atoms, energy=-4189.0, forces=np.zeros((9, 3)))
    ase.io.write(place.working / "frames.xyz", [atoms] * 3, format="extxyz")
    (place.working / "eval.yaml").write_text("systems: frames.xyz\ntargets: {energy: {unit: meV}}\n")
    for kind in KINDS:
        ended = place.milepost("export", "model.ckpt", "-o", f"x.{kind}")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.endswith(f"exported: x.{kind}\n")
    return place


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not compiler_present(), reason="needs a C++ compiler"),
]


@pytest.fixture(scope="module")
def expected(workplace: Workplace) -> tuple[dict[str, float], ase.Atoms]:
    """Evaluate the checkpoint: its errors and the last of its predictions."""
    return evaluated(workplace, "model.ckpt")


def evaluated(workplace: Workplace, name: str) -> tuple[dict[str, float], ase.Atoms]:
    ended = workplace.milepost("eval", name, "eval.yaml", "-o", f"{name}.xyz")
    assert ended.returncode == 0, ended.stderr
    assert "3 frames, 27 atoms" in ended.stdout
    rows = [line.split() for line in ended.stdout.splitlines()]
    errors = {f"{row[0]} {row[1]} [{row[3]}]": float(row[2]) for row in rows if row[1:2] in (["RMSE"], ["MAE"])}
    return errors, ase.io.read(workplace.working / f"{name}.xyz", index=2)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_file_is_evaluated(
    workplace: Workplace, expected: tuple[dict[str, float], ase.Atoms], kind: str
) -> None:
    """With the errors of the checkpoint that it was made from."""
    errors, predicted = evaluated(workplace, f"x.{kind}")
    assert list(errors) == [
        "energy RMSE [meV/atom]",
        "energy MAE [meV/atom]",
        "forces RMSE [meV/Å]",
        "forces MAE [meV/Å]",
    ]
    assert errors == pytest.approx(expected[0], rel=1e-4)
    assert tiny.deviation(predicted.get_forces(), expected[1].get_forces()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_file_tells_nothing_of_where_it_was_made(workplace: Workplace, kind: str) -> None:
    found = []
    with zipfile.ZipFile(workplace.working / f"x.{kind}") as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            content = archive.read(name)
            for trace, what in workplace.traces().items():
                if trace.encode() in content or trace in name:
                    found.append(f"{name} names {what}")
    assert found == []


def test_a_trace_is_found(workplace: Workplace) -> None:
    """The cache of the compiler is full of what the files must not tell."""
    cache = workplace.root / "temporary-folder" / f"torchinductor_{USER}"
    sources = [path.read_bytes() for path in cache.rglob("*.cpp")]
    told = {trace for trace in workplace.traces() for text in sources if trace.encode() in text}
    assert {"temporary-folder", USER, str(Path(torch.__file__).parents[1])} <= told
