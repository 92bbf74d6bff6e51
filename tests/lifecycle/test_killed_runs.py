"""SIGKILL at random moments of a process's life: some here, 500 with `python tests/lifecycle/killed_runs.py`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lifecycle import toy
from lifecycle.killed_runs import differences, merged_log
from milepost.checkpoint import load_checkpoint, save_checkpoint

KILLS = 30
QUICK = "toy: (plain|accumulation|bfloat16|plateau)"


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_like_those_that_were_left_alone():
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run(
        [sys.executable, script, "--kills", str(KILLS), "--only", QUICK],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"([0-9]+) kills of ([0-9]+) runs .* 0 broke the promise", done.stdout)
    assert found, done.stdout
    assert int(found[1]) >= KILLS
    assert int(found[2]) >= 1


FIRST = """[10:00:00] run x · 18 steps of 4 · eager step · 1 threads
[10:00:01] epoch 1  step 6/18  training/loss 0.5  [0:00:02 left]
[10:00:02] step 7/18  loss 0.4  learning rate 0.001  [-:--:-- left]
[10:00:03] epoch 2  step 12/18  training/loss 0.3  [0:00:01 left]
[10:00:03] epoch 3  step 1"""
SECOND = """[10:01:00] continuing from 'x.ckpt' at step 8
[10:01:00] run x · 18 steps of 4 · eager step · 1 threads
[10:01:01] epoch 2  step 12/18  training/loss 0.3  [0:00:01 left]
[10:01:02] epoch 3  step 18/18  training/loss 0.2  [0:00:00 left]
"""
MERGED = [
    "epoch 1  step 6/18  training/loss 0.5",
    "step 7/18  loss 0.4  learning rate 0.001",
    "epoch 2  step 12/18  training/loss 0.3",
    "epoch 3  step 18/18  training/loss 0.2",
]


def write_logs(folder: Path, *texts: str) -> None:
    for number, text in enumerate(texts):
        (folder / f"life-{number:03d}.log").write_text(text, encoding="utf-8")


def test_logs_are_put_together_without_what_a_kill_took_back(tmp_path):
    write_logs(tmp_path, FIRST, "[10:00:30] data: 22 made-up examples\n", SECOND)
    assert merged_log(tmp_path) == MERGED


def test_a_repeated_and_a_missing_line_of_the_log_are_seen(tmp_path):
    write_logs(tmp_path, FIRST, SECOND.replace("step 8", "step 12"))
    assert merged_log(tmp_path).count(MERGED[2]) == 2
    write_logs(tmp_path, FIRST, SECOND.replace("step 8", "step 6"))
    assert MERGED[1] not in merged_log(tmp_path)


def test_a_rollback_takes_back_lines_of_its_own_life(tmp_path):
    back = "[10:00:03] step 13 diverged (NaN): going back to 'step-00000006.ckpt' and leaving out that step"
    write_logs(tmp_path, FIRST.replace("[10:00:03] epoch 3  step 1", back))
    assert merged_log(tmp_path) == MERGED[:1]


def test_every_difference_from_the_oracle_is_seen(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    alone.mkdir()
    toy.write_options(alone)
    with toy.installed(tmp_path / "installed"):
        toy.run(alone)
    write_logs(alone, SECOND)
    shutil.copytree(alone, killed)
    assert list(differences(alone, killed)) == []

    (run,) = killed.glob("outputs/*/*")
    with (run / "metrics.csv").open("a", encoding="utf-8") as stream:
        stream.write("again\n")
    (run / "errors.json").write_text(json.dumps({}), encoding="utf-8")
    (run / "checkpoints" / ".step-00000018.ckpt.12345678.draft").touch()
    model = killed / "model.ckpt"
    with load_checkpoint(model) as checkpoint:
        state = {name: checkpoint.state(name) for name in checkpoint.components}
        record, text = checkpoint.record, checkpoint.options_yaml
    state["model"]["layers.0.weight"][0, 0] += 1e-7
    save_checkpoint(model, state, options_yaml=text, record=record, overwrite=True)
    write_logs(killed, SECOND + SECOND.splitlines()[-1] + "\n")
    found = list(differences(alone, killed))
    assert found[:3] == ["metrics.csv differs", "errors.json differs", "model.ckpt: .model.layers.0.weight"]
    assert found[3] == "drafts were left: ['.step-00000018.ckpt.12345678.draft']"
    assert found[4].startswith("the log has 3 lines, expected 2")

    next(run.glob("checkpoints/*.ckpt")).unlink()
    assert any("expected the checkpoints [" in line for line in differences(alone, killed))
    shutil.copytree(run, run.with_name("another"))
    assert next(differences(alone, killed)).startswith("expected one run, found [")
