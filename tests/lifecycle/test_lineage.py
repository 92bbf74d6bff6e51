"""A run that changes its environment goes on, says so, and its files remember; one that does not tells of nothing."""

import shutil
from pathlib import Path

import pytest

from lifecycle import toy
from lifecycle.test_resuming import StopAt
from milepost.checkpoint import environment as describe
from milepost.checkpoint import load_checkpoint
from milepost.run import training


@pytest.fixture
def folder(tmp_path: Path):
    toy.write_options(tmp_path)
    with toy.installed(tmp_path / "installed"):
        yield tmp_path


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch):
    """Let the process find itself with another version or number of threads."""

    def become(**values: object) -> None:
        monkeypatch.setattr(training, "environment", lambda *given: describe(*given) | values)

    return become


def lineage(folder: Path) -> list[tuple[int, dict]]:
    with load_checkpoint(folder / "model.ckpt") as checkpoint:
        return [(segment.step, dict(segment.environment)) for segment in checkpoint.record.lineage]


def environment_lines(log: toy.Log) -> list[str]:
    return [line for line in log.lines if line.startswith("the run goes on elsewhere")]


def test_a_run_that_stays_where_it_is_has_one_segment_however_often_it_stops(folder):
    for step in (2, 5, 11):
        toy.run(folder, reporter=StopAt(step))
    log = toy.Log()
    toy.run(folder, reporter=log)
    alone = folder / "alone"
    alone.mkdir()
    toy.write_options(alone)
    toy.run(alone)
    assert lineage(folder) == lineage(alone)
    assert [step for step, _ in lineage(folder)] == [0]
    assert environment_lines(log) == []


def test_each_change_is_said_in_one_line_and_stays_in_every_later_file(folder, elsewhere):
    elsewhere(torch="2.12.0", threads=7)
    toy.run(folder, reporter=StopAt(3))
    elsewhere(torch="2.13.0", threads=7)
    log = toy.Log()
    toy.run(folder, reporter=StopAt(7))
    elsewhere(torch="2.13.0", threads=1, milepost="9")
    second = StopAt(9)
    toy.run(folder, reporter=second)
    toy.run(folder, reporter=log)
    assert [(step, e["torch"], e["threads"]) for step, e in lineage(folder)] == [
        (0, "2.12.0", 7),
        (3, "2.13.0", 7),
        (7, "2.13.0", 1),
    ]
    assert [line for line in second.lines if "elsewhere" in line] == [
        f"the run goes on elsewhere (milepost {describe()['milepost']} → 9, threads 7 → 1): "
        "the last bits may differ from now on"
    ]
    assert environment_lines(log) == [], "the last process changed nothing"


def test_what_a_killed_process_did_elsewhere_is_forgotten_with_its_steps(folder, elsewhere):
    """Rolled back behind the change, the run was never made there."""
    toy.run(folder, reporter=StopAt(4))
    first = max(folder.glob("outputs/*/*/checkpoints/*.ckpt"))
    elsewhere(threads=7)
    toy.run(folder, reporter=StopAt(5))
    max(first.parent.glob("*.ckpt")).unlink()
    elsewhere()
    toy.run(folder)
    assert [step for step, _ in lineage(folder)] == [0]


def test_a_step_that_is_compiled_from_now_on_is_a_change(folder, monkeypatch):
    made = training.GradientStep
    monkeypatch.setattr(
        training, "GradientStep", lambda model, loss, mode, *rest, **named: made(model, loss, "eager", *rest, **named)
    )
    toy.run(folder, reporter=StopAt(4))
    monkeypatch.setattr(training, "choose_mode", lambda *given: "compiled")
    log = toy.Log()
    toy.run(folder, reporter=log)
    assert environment_lines(log) == [
        "the run goes on elsewhere (step_mode eager → compiled): the last bits may differ from now on"
    ]
    assert [(step, e["step_mode"]) for step, e in lineage(folder)] == [(0, "eager"), (4, "compiled")]


def test_a_file_that_goes_on_in_a_new_directory_keeps_its_lineage(folder, elsewhere):
    elsewhere(threads=7)
    toy.run(folder, reporter=StopAt(4))
    copied = shutil.copy(max(folder.glob("outputs/*/*/checkpoints/*.ckpt")), folder / "copied.ckpt")
    elsewhere(threads=8)
    toy.run(folder, restart=str(copied))
    assert [(step, e["threads"]) for step, e in lineage(folder)] == [(0, 7), (4, 8)]
