"""Two processes that save into one folder at the same time: each file is whole, and belongs to one of them."""

import os
import subprocess
import sys
from pathlib import Path

from faults.sequence import problems_of
from milepost.archive import is_draft
from milepost.checkpoint import checkpoint_name, list_checkpoints, newest_verified

STEPS = 60


def contend(folder: Path, *arguments: tuple[str, ...]) -> list[list[int]]:
    """Run one process for each set of arguments at the same time; return the steps that each says it saved."""
    script = Path(__file__).with_name("contending_saves.py")
    environment = os.environ | {"PYTHONPATH": str(script.parents[1]), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, script, folder, *words], stdout=subprocess.PIPE, text=True, env=environment)
        for words in arguments
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(arguments)
    for path in folder.glob(".*.ready"):
        path.unlink()
    return [[int(line) for line in output.split()] for output in outputs]


def test_two_processes_that_want_the_same_names_share_them_out(tmp_path: Path):
    won = contend(tmp_path, ("a", "0", str(STEPS), "0", "same"), ("b", "0", str(STEPS), "0", "same"))
    assert sorted(won[0] + won[1]) == list(range(STEPS)), "each step was saved by one of them, and by one only"
    entries = list_checkpoints(tmp_path, verify=True)
    assert [entry.step for entry in entries if entry.verified] == list(range(STEPS))
    assert [problem for entry in entries for problem in problems_of(entry.path)] == []
    owners = {"a": won[0], "b": won[1]}
    assert all(entry.step in owners[str(entry.run_id)] for entry in entries)
    assert not any(map(is_draft, tmp_path.iterdir()))


def test_two_runs_in_one_folder_retire_their_own_files_only(tmp_path: Path):
    contend(tmp_path, ("a", "0", str(STEPS), "2", "own"), ("b", "1000", str(1000 + STEPS), "3", "own"))
    entries = list_checkpoints(tmp_path, verify=True)
    assert all(entry.verified for entry in entries)
    assert [entry.step for entry in entries if entry.run_id == "a"] == [STEPS - 2, STEPS - 1]
    assert [entry.step for entry in entries if entry.run_id == "b"] == [997 + STEPS, 998 + STEPS, 999 + STEPS]
    assert newest_verified(tmp_path, "a")[0] == tmp_path / checkpoint_name(STEPS - 1)
    assert newest_verified(tmp_path, "b")[0] == tmp_path / checkpoint_name(999 + STEPS)
