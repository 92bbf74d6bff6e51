"""Importing Milepost changes nothing in the process, and starts the command without torch.

Each promise is checked in a fresh interpreter.
"""

import json
import subprocess
import sys
from pathlib import Path

import milepost

SOURCE = Path(milepost.__file__).parent
MODULES = sorted(
    ".".join(("milepost", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
    for file in SOURCE.rglob("*.py")
    if file.name != "__main__.py"
)
# Our dependencies are imported first: what they change is theirs. torch and numpy hold the global settings.
COMPARE = """
import importlib, json, logging, os, random, signal, sys, warnings
import ase.io, lightning.pytorch, metatomic.torch, metatomic_ase, numpy
import omegaconf, pydantic, rich, torch, vesin
def state():
    return {{
        "environment": dict(os.environ),
        "warning filters": [str(entry) for entry in warnings.filters],
        "python generator": hash(random.getstate()),
        "numpy generator": hash(numpy.random.get_state()[1].tobytes()),
        "torch generator": hash(torch.get_rng_state().numpy().tobytes()),
        "default dtype": str(torch.get_default_dtype()),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "log level": logging.getLogger().level,
        "log handlers": len(logging.getLogger().handlers),
        "signal handler": str(signal.getsignal(signal.SIGTERM)),
        "import hooks": len(sys.meta_path),
    }}
earlier = state()
for name in {modules!r}:
    importlib.import_module(name)
{after}
later = state()
print(json.dumps([key for key in earlier if earlier[key] != later[key]]))
"""


def run(code: str) -> object:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_there_are_modules_to_import() -> None:
    assert len(MODULES) > 10


def test_importing_every_module_changes_nothing() -> None:
    assert run(COMPARE.format(modules=MODULES, after="")) == []


def test_a_change_made_by_an_import_is_found() -> None:
    change = "random.seed(1); torch.set_default_dtype(torch.float64); warnings.simplefilter('ignore')"
    found = run(COMPARE.format(modules=[], after=change))
    assert found == ["warning filters", "python generator", "default dtype"]


def loaded_by(module: str) -> set[str]:
    """Return the names of all modules that importing one brings in."""
    code = f"import json, sys; import {module}; print(json.dumps(sorted(sys.modules)))"
    found = run(code)
    assert isinstance(found, list)
    return {str(name) for name in found}


def test_the_command_starts_without_the_heavy_libraries() -> None:
    heavy = {"torch", "numpy", "ase", "lightning_fabric", "pydantic", "omegaconf", "rich"}
    assert heavy & loaded_by("milepost.cli") == set()


def test_options_are_read_without_torch() -> None:
    assert {"torch", "lightning_fabric"} & loaded_by("milepost.options") == set()


def test_a_file_is_opened_without_torch() -> None:
    assert "torch" not in loaded_by("milepost.archive")


def test_runs_are_looked_at_without_torch() -> None:
    assert {"torch", "numpy", "rich", "pydantic"} & loaded_by("milepost.run.index") == set()
