"""`milepost runs` lists runs as they are, quickly, and without disturbing them."""

import dataclasses
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from milepost.cli.runs import age
from milepost.run.directory import RunDirectory, new_run
from milepost.run.record import BestValue

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch) -> list[RunDirectory]:
    """Make five runs in a folder, one for each way to be, and go there."""
    monkeypatch.chdir(tmp_path)
    made = [new_run(Path("outputs"), "x", NOON + timedelta(minutes=i)) for i in range(5)]
    for run in made:
        run.begin(0, 200, {"torch": "2.13.0"})
        run.saved("step-00000050.ckpt", 50, 5, BestValue("validation/loss", 0.123456, 40))
        (run.checkpoints / "step-00000050.ckpt").touch()
    made[0].update("finished", 200, "early stopping")
    made[1].update("stopped", 50, "SIGTERM")
    made[2].update("failed", 50, "could not read 'a': expected this,\x1b[31m found that")
    made[4].progress.write_text(json.dumps({"phase": "evaluating", "step": 60}))
    for run in made[:4]:
        run.release()
    yield made
    made[4].release()


def test_each_run_has_a_line(milepost, runs) -> None:
    ended = milepost("runs")
    assert (ended.status, ended.err) == (0, "")
    head, *lines = ended.out.splitlines()
    assert head.split("  ")[0] == "run"
    assert [line.split()[:3] for line in lines] == [
        ["outputs/2026-01-31/12-00-00", "finished", "200/200"],
        ["outputs/2026-01-31/12-01-00", "stopped", "50/200"],
        ["outputs/2026-01-31/12-02-00", "failed", "50/200"],
        ["outputs/2026-01-31/12-03-00", "killed", "50/200"],
        ["outputs/2026-01-31/12-04-00", "running", "60/200"],
    ]
    assert all("validation/loss 0.1235 at 40" in line for line in lines)
    assert all("step-00000050.ckpt, " in line and " ago" in line for line in lines)
    for line, end in zip(
        lines, ("early stopping", "SIGTERM", "found that", "process is gone", "evaluating"), strict=True
    ):
        assert line.endswith(end)
    assert "expected this,\\u001b[31m found that" in lines[2], "no text of a file moves the cursor"


def test_json_has_all_of_it(milepost, runs) -> None:
    (runs[0].checkpoints / "step-00000050.ckpt").unlink()
    found = json.loads(milepost("runs", "--json", "outputs").out)
    assert [run["state"] for run in found] == ["finished", "stopped", "failed", "killed", "running"]
    assert found[0]["last_checkpoint"] is None
    assert found[1]["why"] == "SIGTERM"
    assert found[1]["ended"] is not None
    assert found[4]["owner"]["pid"] == os.getpid()
    assert found[4]["progress"]["phase"] == "evaluating"
    assert found[4]["record"]["best"] == {"metric": "validation/loss", "value": 0.123456, "step": 40}
    assert set(found[0]) == {
        "path", "state", "step", "total_steps", "why", "ended", "last_checkpoint", "owner", "progress",
        "silent_seconds", "record",
    }  # fmt: skip


def test_a_checkpoint_that_is_gone_is_said_to_be(milepost, runs) -> None:
    (runs[0].checkpoints / "step-00000050.ckpt").unlink()
    assert "step-00000050.ckpt is gone" in milepost("runs", runs[0].path).out


def test_a_silent_run_is_said_to_be(milepost, runs) -> None:
    os.utime(runs[4].progress, (1, 1))
    assert "evaluating, silent for " in milepost("runs", runs[4].path).out


def test_no_runs(milepost, tmp_path: Path) -> None:
    ended = milepost("runs", tmp_path)
    assert (ended.status, ended.out, ended.err) == (0, "", f"no runs below '{tmp_path}'\n")
    assert milepost("runs", "--json", tmp_path).out == "[]\n"
    ended = milepost("runs", tmp_path / "none")
    assert (ended.status, ended.out) == (1, "")
    assert f"could not use '{tmp_path}/none': No such file or directory" in ended.err


def test_a_run_that_can_not_be_read_is_named_and_the_others_are_listed(milepost, runs) -> None:
    path = runs[0].path / "run.json"
    path.unlink()
    path.mkdir()
    ended = milepost("runs")
    assert ended.status == 1
    assert ended.err == f"could not read '{path}': Is a directory\n"
    assert len(ended.out.splitlines()) == 5
    ended = milepost("runs", runs[0].path)
    assert (ended.status, ended.out) == (1, "")


def test_an_old_run_is_listed(milepost, runs) -> None:
    record = {"run_id": "a", "identity": "b", "created": NOON.isoformat(), "state": "stopped", "step": 7, "note": ""}
    (runs[0].path / "run.json").write_text(json.dumps(record))
    line = milepost("runs", runs[0].path).out.splitlines()[1]
    assert line.split() == ["outputs/2026-01-31/12-00-00", "stopped", "7", "step-00000050.ckpt"]


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0 s"), (119, "1 min"), (7200, "2 h"), (10**6, "11 d")])
def test_ages_are_written_in_their_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_hundred_runs_are_listed_without_torch(tmp_path: Path) -> None:
    made = new_run(tmp_path / "outputs", "x", NOON)
    made.begin(0, 200, {"torch": "2.13.0"})
    for number in range(99):
        path = tmp_path / "outputs" / "2026-02-01" / f"12-00-00-{number + 2}"
        path.mkdir(parents=True)
        record = dataclasses.replace(made.record, ordinal=number + 2)
        RunDirectory(path, record).update("stopped", 7, "SIGTERM")
    made.release()
    program = (
        "import sys\n"
        "from milepost.cli import main\n"
        "try:\n"
        f"    main(['runs', {str(tmp_path)!r}])\n"
        "except SystemExit as ending:\n"
        "    print(ending.code, sorted({'torch', 'numpy', 'rich', 'pydantic'} & set(sys.modules)))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(found.stdout.splitlines()) == 102
    assert found.stdout.splitlines()[-1] == "0 []"
