"""The example, killed without a warning while it trains, leaves a file that loads, and ends with the same bits."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from milepost.checkpoint import list_checkpoints, load_checkpoint, newest_verified

SCRIPT = Path(__file__).parents[3] / "examples" / "lightning" / "train.py"


def command(folder: Path, epochs: int) -> list[str]:
    return [sys.executable, "-W", "ignore", str(SCRIPT), "--folder", str(folder), "--epochs", str(epochs)]


def run(folder: Path, epochs: int) -> str:
    process = subprocess.run(command(folder, epochs), capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


def killed_after_a_save(folder: Path, epochs: int) -> int:
    """Kill the script once it has saved something new; return the step that is found afterwards."""
    before = {path.name for path in folder.glob("*.ckpt")}
    with subprocess.Popen(command(folder, epochs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and {path.name for path in folder.glob("*.ckpt")} <= before:
            time.sleep(0.001)
        process.kill()
    path, damaged = newest_verified(folder)
    assert path is not None
    assert damaged == []
    with load_checkpoint(path) as checkpoint:
        return checkpoint.record.step


@pytest.mark.slow
def test_the_example_survives_kills_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    epochs = 20
    assert "starting from the beginning" in run(alone, epochs)
    steps = [killed_after_a_save(killed, epochs) for _ in range(2)]
    assert 0 < steps[0] < steps[1] < 16 * epochs, "both were killed while they trained"
    assert "starting from " + str(killed) in run(killed, epochs)
    assert [entry.step for entry in list_checkpoints(alone, verify=True)] == [16 * epochs]
    entries = list_checkpoints(killed, verify=True)  # Lightning keeps those that it resumed from
    assert [entry.step for entry in entries] == [*steps, 16 * epochs]
    assert all(entry.verified for entry in entries)
    weights = []
    for folder in (alone, killed):
        path, _ = newest_verified(folder)
        assert path is not None
        with load_checkpoint(path) as checkpoint:
            weights.append(checkpoint.state("model"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_the_example_runs_to_its_end(tmp_path: Path) -> None:
    assert run(tmp_path, 1).splitlines() == ["starting from the beginning", "finished at step 16"]
    assert [entry.step for entry in list_checkpoints(tmp_path, verify=True)] == [15]
