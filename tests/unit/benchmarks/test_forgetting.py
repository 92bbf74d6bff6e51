"""What the benchmark of forgetting asks the program for, reads from a run, and does not measure twice."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milepost.cli.validation import read_options

FOLDER = Path(__file__).parents[3] / "benchmarks"
MODULES = ("protocol", "processes", "forgetting")


@pytest.fixture(scope="module")
def forgetting() -> Iterator[Any]:
    """Import the script as it imports others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        before = set(sys.modules)
        yield importlib.import_module("forgetting")
        for name in set(sys.modules) & set(MODULES) - before:
            del sys.modules[name]


@pytest.fixture
def runs(forgetting, monkeypatch) -> list[Path]:
    """Stand for the program: note where it was run, check its options, and leave what a run leaves."""
    folders: list[Path] = []

    def run(command: list[Any], log: Path) -> float:
        given, _ = read_options(log.parent / "options.yaml", for_training=True)
        folders.append(log.parent)
        joint = given.learner.name == "joint"
        one = [[0.001, 0.002]] if joint else [[0.001, None], [0.003, 0.004]]
        directory = log.parent / "outputs" / "day" / "time"
        directory.mkdir(parents=True)
        rows = {"forces_rmse": one, "energy_rmse": one}
        (directory / "tasks.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
        return 12.0

    monkeypatch.setattr(forgetting, "run_logged", run)
    return folders


@pytest.mark.parametrize("learner", ["finetune", "joint", "oewc", "lwf", "er", "derpp"])
def test_errors_are_read_off_in_thousandths(forgetting, runs, tmp_path, learner) -> None:
    found = forgetting.train(tmp_path, "molecule", learner, 1, validate=False)
    old, new = (1.0, 2.0) if learner == "joint" else (3.0, 4.0)
    assert (found.old["forces_rmse"], found.new["energy_rmse"], found.seconds) == (old, new, 12.0)
    assert found.before == (None if learner == "joint" else {"forces_rmse": 1.0, "energy_rmse": 1.0})
    assert runs == [tmp_path / f"molecule-{learner}-1"]


def test_a_run_that_was_kept_is_read_and_one_that_was_cut_short_is_done_again(forgetting, runs, tmp_path) -> None:
    first = forgetting.train(tmp_path, "hotter", "er", 0, validate=False)
    assert forgetting.train(tmp_path, "hotter", "er", 0, validate=False) == first
    assert len(runs) == 1
    (tmp_path / "hotter-er-0" / "outcome.json").unlink()
    assert forgetting.train(tmp_path, "hotter", "er", 0, validate=False) == first
    assert len(runs) == 2


def test_a_row_has_means_and_deviations(forgetting) -> None:
    one, other = (
        forgetting.Outcome({"forces_rmse": a, "energy_rmse": a}, {"forces_rmse": a, "energy_rmse": a}, {
            "forces_rmse": a, "energy_rmse": a}, a)
        for a in (1.0, 3.0)
    )  # fmt: skip
    assert forgetting.row("er", [one, other]) == ("er (buffer_size 50)", *["2.0 ± 1.4"] * 7)
    assert forgetting.row("joint", [forgetting.Outcome(None, one.old, one.new, 1.0)])[1] == "–"
