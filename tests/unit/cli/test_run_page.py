"""`milepost show` says how a run stands, and how well it does its tasks."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from milepost.checkpoint import save_checkpoint
from milepost.learning.matrix import TaskMatrix
from milepost.run.directory import RunDirectory, new_run
from milepost.run.record import BestValue

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> RunDirectory:
    """Make a run that was stopped after two of its tasks."""
    monkeypatch.chdir(tmp_path)
    made = new_run(Path("outputs"), "x", NOON)
    made.begin(0, 200, {"torch": "2.13.0"})
    save_checkpoint(made.checkpoints / "step-00000050.ckpt", {"model": {"weight": torch.ones(3)}})
    made.saved("step-00000050.ckpt", 50, 5, BestValue("validation/loss", 0.123456, 40))
    made.metrics.write_text("step,validation/loss\n40,0.123456\n50,0.2\n")
    made.update("stopped", 50, "SIGTERM")
    made.release()
    matrix = TaskMatrix(["a", "b", "c"], {"accuracy": "max", "loss": "min"})
    matrix.add(0, [{"accuracy": 90.0, "loss": 0.5}])
    matrix.add(1, [{"accuracy": 70.0, "loss": float("inf")}, {"accuracy": 80.0, "loss": 0.25}])
    matrix.write(made.path)
    return made


def test_a_run_and_its_matrix(milepost, run) -> None:
    ended = milepost("show", run.path)
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == "outputs/2026-01-31/12-00-00"
    page = {line.split("  ")[1]: line.split()[-1] for line in lines if line.startswith("  ") and line[2] != " "}
    assert page["state"] == "stopped"
    assert page["how it goes"] == "SIGTERM"
    assert page["validation/loss"] == "0.2"
    assert "  progress         50/200 (25 %)" in lines
    place = lines.index("accuracy on each task (columns) after each task was learned (rows)")
    assert lines[place + 2 : place + 5] == [
        "  0  a  90.00              90.00",
        "  1  b  70.00  80.00       75.00",
        "  average 75.00, forgetting 20.00, backward transfer -20.00",
    ]
    assert any(line.startswith("loss on each task") for line in lines[place:])


def test_json_has_all_of_it(milepost, run) -> None:
    found = json.loads(milepost("show", "--json", run.path).out)
    assert (found["kind"], found["state"], found["step"]) == ("run", "stopped", 50)
    assert found["metrics"] == {"step": 50.0, "validation/loss": 0.2}
    assert found["matrix"]["tasks"] == ["a", "b", "c"]
    assert found["matrix"]["rows"]["accuracy"] == [[90.0, None, None], [70.0, 80.0, None], [None] * 3]
    assert found["matrix"]["rows"]["loss"][1] == ["inf", 0.25, None]
    assert found["matrix"]["scores"]["accuracy"]["forgetting"] == 20.0


def test_a_run_without_tasks(milepost, run) -> None:
    (run.path / "tasks.json").unlink()
    (run.path / "metrics.csv").unlink()
    shown = milepost("show", run.path).out
    assert "stopped" in shown
    assert "on each task" not in shown
    assert json.loads(milepost("show", "--json", run.path).out)["matrix"] is None


def test_every_byte_of_a_run_is_read_when_asked(milepost, run) -> None:
    ended = milepost("show", "--verify", run.path)
    assert (ended.status, ended.out.splitlines()[-1]) == (0, "verified: every byte is the one that was written")
    file = run.checkpoints / "step-00000050.ckpt"
    data = bytearray(file.read_bytes())
    place = data.index(torch.ones(3).numpy().tobytes())
    data[place] ^= 1
    file.write_bytes(data)
    ended = milepost("show", "--verify", run.path)
    assert ended.status == 1
    assert "step-00000050.ckpt: model.safetensors, tensor 'weight'" in ended.out
    assert len(json.loads(milepost("show", "--verify", "--json", run.path).out)["damage"]) == 1


def test_a_directory_that_is_no_run(milepost, tmp_path) -> None:
    (tmp_path / "run.json").write_text('{"state": "flying"}')
    ended = milepost("show", tmp_path)
    assert ended.status == 1
    assert "expected a file or a run's directory, found another directory" in ended.err


def test_it_needs_no_torch(run) -> None:
    program = (
        "import sys\nfrom milepost.cli import main\n"
        f"try:\n    main(['show', {str(run.path)!r}])\n"
        "except SystemExit:\n    sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0
