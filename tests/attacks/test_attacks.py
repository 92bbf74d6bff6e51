"""No attack file runs anything, imports anything or breaks out: each gets its error, or is described.

To add one: put it into the list of its kind, with its story and what comes of it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from attacks.attack import Attack
from attacks.containers import CONTAINERS
from attacks.described import DESCRIBED, UNTOUCHED
from attacks.pickles import PICKLES
from attacks.tensors import TENSORS
from attacks.zips import ZIPS
from milepost.checkpoint.foreign import ForeignFile, open_foreign
from milepost.errors import ForeignFileError

ERRORS = [*PICKLES, *TENSORS, *ZIPS, *CONTAINERS]
ADVICE = ". Do not use this file; get it again from a source that you trust."
# Places in a file that depend on how long its parts happen to be.
VARYING = (
    (r"CRC-32 \w{8}, found \w{8}", "CRC-32 CRC, found CRC"),
    (r"from a file of \d+", "from a file of SIZE"),
    (r"byte \d+, found it at \d+", "byte END, found it at END"),
    (r"end at byte \d+", "end at byte END"),
)
# What an attack would do; the interpreter announces each of these to audit hooks.
FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "import", "exec",
    "compile", "pickle.find_class", "os.remove", "os.rename", "os.mkdir", "shutil.rmtree",
)  # fmt: skip


def names(attacks: list[Attack]) -> list[str]:
    return [attack.name for attack in attacks]


def test_the_lists_are_whole() -> None:
    assert len(DESCRIBED) > 15
    assert len(ERRORS) > 60
    assert len(set(names([*DESCRIBED, *ERRORS]))) == len(DESCRIBED) + len(ERRORS)
    assert all(attack.story for attack in [*DESCRIBED, *ERRORS])


def reason(path: Path, error: ForeignFileError) -> str:
    """Return the error without file and advice, and without numbers that vary."""
    found = str(error)
    assert found.startswith(f"could not read '{path}': ")
    assert found.endswith(ADVICE)
    found = found.removeprefix(f"could not read '{path}': ").removesuffix(ADVICE)
    for pattern, replacement in VARYING:
        found = re.sub(pattern, replacement, found)
    return found


def read_all(path: Path) -> tuple[ForeignFile | None, Any]:
    """Do everything that a reader can do with a file."""
    found = open_foreign(path)
    if found is None:
        return None, None
    found.tensor_table()
    found.tensors()
    return found, found.tree()


@pytest.mark.parametrize("attack", ERRORS, ids=names(ERRORS))
def test_a_refused_attack_gets_its_error(attack: Attack, tmp_path: Path) -> None:
    path, marker = tmp_path / "file", tmp_path / "marker"
    attack.make(path, marker)
    with pytest.raises(ForeignFileError) as caught:
        read_all(path)
    assert reason(path, caught.value) == attack.error
    assert not marker.exists()


@pytest.mark.parametrize("attack", DESCRIBED, ids=names(DESCRIBED))
def test_a_described_attack_names_what_would_run(attack: Attack, tmp_path: Path) -> None:
    path, marker = tmp_path / "file", tmp_path / "marker"
    attack.make(path, marker)
    found, tree = read_all(path)
    assert found is not None
    assert found.suspicious == attack.suspicious
    assert set(attack.suspicious) <= set(found.globals)
    if attack.tree is not None:
        assert with_marker(tree, marker) == attack.tree
    assert not marker.exists()


def test_a_pipe_does_not_block_its_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ForeignFileError) as caught:
        read_all(tmp_path / "pipe")
    assert str(caught.value) == (
        f"could not read '{tmp_path}/pipe': expected a regular file, found something else. Give the path of a file."
    )


def with_marker(tree: Any, marker: Path) -> Any:
    """Replace the path of the marker, so that what is expected can be written down."""
    if isinstance(tree, dict):
        return {key: with_marker(value, marker) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(with_marker(value, marker) for value in tree)
    return tree.replace(str(marker), "MARKER") if isinstance(tree, str) else tree


def test_a_call_in_an_ignored_argument_leaves_the_tensor(tmp_path: Path) -> None:
    attack = next(attack for attack in DESCRIBED if attack.name == "in-hooks")
    attack.make(tmp_path / "file", tmp_path / "marker")
    assert torch.equal(read_all(tmp_path / "file")[1], torch.zeros(4))


def test_an_array_of_objects_is_described(tmp_path: Path) -> None:
    attack = next(attack for attack in DESCRIBED if attack.name == "objects-in-array")
    attack.make(tmp_path / "file", tmp_path / "marker")
    tree = read_all(tmp_path / "file")[1]
    assert tree["class"] == "numpy._core.multiarray._reconstruct"


WATCHED = """
import json, sys
from pathlib import Path
from attacks.test_attacks import FORBIDDEN, read_all
from milepost.checkpoint.foreign import memory
from milepost.errors import ForeignFileError
import torch
torch.save({{"w": torch.ones(2)}}, {honest!r})
read_all(Path({honest!r}))
found, watching = [], []
def watch(event, arguments):
    if watching and event.startswith(FORBIDDEN):
        found.append(event + " " + str(arguments)[:200])
sys.addaudithook(watch)
before = set(sys.modules)
for path in {paths!r}:
    watching.append(path)
    try:
        read_all(Path(path))
    except ForeignFileError:
        pass
    watching.clear()
{after}
print(json.dumps([found, sorted(set(sys.modules) - before)]))
"""


def watched(tmp_path: Path, paths: list[Path], after: str = "") -> list[list[str]]:
    """Read files in an interpreter whose audit hook notices every import, call and command."""
    code = WATCHED.format(honest=str(tmp_path / "honest.pt"), paths=[str(path) for path in paths], after=after)
    folder = str(Path(__file__).parents[1])
    run = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{code}"],
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_no_attack_imports_or_runs_anything(tmp_path: Path) -> None:
    paths: list[Path] = []
    for attack in [*DESCRIBED, *ERRORS]:
        paths.append(tmp_path / attack.name)
        attack.make(paths[-1], tmp_path / "marker")
    events, imported = watched(tmp_path, paths)
    assert events == []
    assert imported == []
    assert not (tmp_path / "marker").exists()


def test_the_watch_notices_what_an_unpickler_does(tmp_path: Path) -> None:
    path, marker = tmp_path / "file", tmp_path / "marker"
    next(attack for attack in DESCRIBED if attack.name == "plain-pickle").make(path, marker)
    after = f"watching.append(1)\nimport pickle, {UNTOUCHED}\npickle.load(open({str(path)!r}, 'rb'))"
    events, imported = watched(tmp_path, [], after)
    assert any(event.startswith("os.system") for event in events)
    assert UNTOUCHED in imported
    assert marker.exists()
