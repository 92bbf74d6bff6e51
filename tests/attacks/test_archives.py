"""An archive made to hurt its reader gets its error soon, in little memory, by whatever way it is read."""

import json
import subprocess
import sys
from typing import Any

import pytest

from attacks.archives import ARCHIVES, IN_MANIFEST, IN_STRUCTURE, write
from attacks.attack import Attack

# Minutes for what takes seconds: these attacks took hours or days.
SOON = 300
ROOM = 512 * 2**20

READ = """
import contextlib, io, json, resource, sys
from pathlib import Path
from milepost.archive.verifying import verify_paths
from milepost.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from milepost.cli import main
from milepost.errors import ArchiveError

def loaded(path):
    try:
        with load_checkpoint(path) as checkpoint:
            return repr(checkpoint.state("facts"))
    except ArchiveError as error:
        return str(error)

def shown(path):
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(["show", str(path)])
    except SystemExit as ending:
        return [ending.code, " ".join(said.getvalue().split())]
    return [None, said.getvalue()]

def read(path):
    (verdict,) = verify_paths([path.parent])
    (entry,) = list_checkpoints(path.parent)
    return {
        "verified": [verdict.state, verdict.reason or "; ".join(map(str, verdict.damages))],
        "loaded": loaded(path),
        "shown": shown(path),
        "listed": list(entry.damage),
    }

folder = Path(sys.argv[1])
honest = folder / "honest" / "honest.ckpt"
honest.parent.mkdir()
save_checkpoint(honest, {"facts": {"a": 1}})
read(honest)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = {name: read(folder / name / "attack.ckpt") for name in sys.argv[2:]}
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([found, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """Read all attacks in every way; return what came of each, and the bytes of memory that it took."""
    folder = tmp_path_factory.mktemp("archives")
    write(folder)
    program = folder / "read.py"
    program.write_text(READ)
    names = [attack.name for attack in ARCHIVES]
    run = subprocess.run(
        [sys.executable, str(program), str(folder), *names], capture_output=True, text=True, timeout=SOON, check=False
    )
    assert run.returncode == 0, run.stderr
    results, memory = json.loads(run.stdout.splitlines()[-1])
    return results, memory


def test_each_has_a_story_and_a_name() -> None:
    assert len({attack.name for attack in ARCHIVES}) == len(ARCHIVES) > 9
    assert all(attack.story and attack.error for attack in ARCHIVES)


@pytest.mark.parametrize("attack", ARCHIVES, ids=lambda attack: attack.name)
def test_it_gets_its_error_when_it_is_verified_or_loaded(attack: Attack, found: Any) -> None:
    result = found[0][attack.name]
    state, reason = result["verified"]
    assert state == "damaged"
    assert attack.error in reason
    assert attack.error in result["loaded"]
    assert result["loaded"].endswith("Do not use this file; get it again from a source that you trust.")


@pytest.mark.parametrize("attack", IN_MANIFEST, ids=lambda attack: attack.name)
def test_a_folder_with_it_is_listed(attack: Attack, found: Any) -> None:
    (damage,) = found[0][attack.name]["listed"]
    assert attack.error in damage


@pytest.mark.parametrize("attack", IN_STRUCTURE, ids=lambda attack: attack.name)
def test_what_hides_in_a_component_does_not_hinder_the_list(attack: Attack, found: Any) -> None:
    assert found[0][attack.name]["listed"] == []


@pytest.mark.parametrize("attack", ARCHIVES, ids=lambda attack: attack.name)
def test_showing_it_ends_with_its_error(attack: Attack, found: Any) -> None:
    status, said = found[0][attack.name]["shown"]
    assert status == 1
    assert attack.error in said


def test_they_take_little_memory(found: Any) -> None:
    assert found[1] < ROOM
