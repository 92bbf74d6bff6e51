"""What the layer promises as a whole: its public names, and what importing it does not import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import milepost.options

FOLDER = Path(milepost.options.__file__).parent


def test_every_public_name_exists_and_is_documented() -> None:
    assert milepost.options.__all__ == sorted(milepost.options.__all__, key=lambda name: (name != "ABSENT", name))
    for name in milepost.options.__all__:
        assert getattr(milepost.options, name).__doc__, name


@pytest.mark.parametrize("module", ["torch", "numpy", "omegaconf", "yaml"])
def test_importing_the_layer_is_light(module) -> None:
    code = f"import sys, milepost.options; sys.exit({module!r} in sys.modules)"
    environment = {"PYTHONPATH": str(FOLDER.parents[1])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_the_layer_knows_no_domain() -> None:
    files = sorted(FOLDER.glob("*.py"))
    assert len(files) > 10
    for file in files:
        text = file.read_text().lower()
        assert not [word for word in ("atom", "force", "image", "pixel") if word in text], file


def test_files_and_functions_are_short() -> None:
    for file in FOLDER.glob("*.py"):
        text = file.read_text()
        assert text.count("\n") < 400, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 40, f"{file}: {node.name}"
