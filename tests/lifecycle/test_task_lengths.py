"""With another length of the tasks a run goes on only from where its state keeps its meaning: between two tasks.

The data are scikit-learn's digits, divided into five tasks.
"""

import csv
import os
import signal
from pathlib import Path

import pytest
import yaml

from lifecycle.test_task_files import OPTIONS, Log, published, run, same, states
from milepost.cli.validation import read_options
from milepost.errors import ResumeError
from milepost.learning import TaskMatrix, pictures
from milepost.run import Request, train

EPOCHS = "architecture.training.epochs"
SAVED = 2
"""Passes over each task, as the options of `test_task_files` have it."""


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    """Draw nothing: that takes longer than all the steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw_matrix", lambda matrix, folder: ())
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learn all tasks in one run, which leaves a file of each."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, "course.savecheck=task", restart="auto")
    return folder


def per_task(folder: Path) -> list[int]:
    """Return at which step of the whole run each task ended."""
    return [int(states(path)["position"]["step"]) for path in published(folder).values()]


class StopAt(Log):
    """Send a signal to this process when a step is done."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.at = step

    def step(self, done: int) -> None:
        if done == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def stopped(folder: Path, step: int, *overrides: str) -> Path:
    """Train up to a step; return its checkpoint."""
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(OPTIONS), encoding="utf-8")
    options, architecture = read_options(path, overrides, for_training=True)
    result = train(Request(options, architecture, folder, folder / "model.ckpt", "auto"), StopAt(step))
    assert (result.outcome, result.step) == ("stopped", step)
    return max((result.directory / "checkpoints").glob("*.ckpt"))


def measured(folder: Path) -> list[list[bool]]:
    """Tell which entries of a run's matrix there are."""
    matrix = TaskMatrix.read(folder)
    assert matrix is not None
    return [[value == value for value in row] for row in matrix.rows["accuracy"]]


def test_a_file_of_a_task_s_end_goes_on_with_the_next_task(whole, tmp_path):
    given = published(whole)["1"]
    before = states(given)
    result, log = run(tmp_path, f"course.loadcheck={given}", f"{EPOCHS}=3", "course.savecheck=task")
    after = states(result.model or Path())
    ends = per_task(tmp_path)
    assert list(published(tmp_path)) == ["2", "3", "4"]
    assert ends == [end // SAVED * 3 for end in per_task(whole)[2:]], "counted as if all tasks had been of this length"
    assert result.step == ends[-1]
    rows = list(csv.DictReader((result.directory / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 3 * 3, "each of the three tasks to come has three passes"
    sizes = {name: states(path)["learner"]["buffer"]["seen"] for name, path in published(whole).items()}
    once = (sizes["4"] - sizes["1"]) // SAVED
    assert after["learner"]["buffer"]["seen"] == before["learner"]["buffer"]["seen"] + 3 * once
    assert after["matrix"]["rows"]["accuracy"][:2] == before["matrix"]["rows"]["accuracy"][:2]
    assert [any(row) for row in measured(result.directory)] == [True] * 5
    assert any(f"option changed, allowed: {EPOCHS}: 2 → 3" in line for line in log.lines)


def test_shorter_tasks_and_a_number_of_steps(whole, tmp_path):
    given = published(whole)["3"]
    result, _ = run(tmp_path, f"course.loadcheck={given}", "architecture.training.steps=1", "course.savecheck=task")
    assert result.step == 5
    (left,) = published(tmp_path).values()
    assert left.name.startswith("derpp_seq-digits_30_1steps_")
    before, after = states(given), states(result.model or Path())
    assert not same(before["model"], after["model"])
    assert after["position"]["step"] < before["position"]["step"]
    # It can be stopped and gone on from like any other.
    again, _ = run(tmp_path, f"course.loadcheck={given}", "architecture.training.steps=1", restart="auto")
    assert (again.step, again.directory) == (5, result.directory)


def test_nothing_is_left_to_learn_of_a_finished_run(whole, tmp_path):
    with pytest.raises(ResumeError, match="expected a task to learn up to number 4, found 5 tasks done"):
        run(tmp_path, f"course.loadcheck={published(whole)['4']}", f"{EPOCHS}=3")


def test_a_finished_run_is_not_thrown_into_the_middle_of_a_task(whole):
    """Restarting would count the steps again, beside checkpoints that are named by the old count."""
    options = next(whole.glob("outputs/*/*/options.yaml"))
    text, model = options.read_text(), (whole / "model.ckpt").read_bytes()
    with pytest.raises(ResumeError) as caught:
        run(whole, "course.savecheck=task", f"{EPOCHS}=3", restart="auto")
    message = str(caught.value)
    assert f"5 of 5 tasks done: expected the saved {EPOCHS}=2, found 3, with which step" in message
    assert message.endswith("--start-from N in the place of --restart, and another -o.")
    assert (options.read_text(), (whole / "model.ckpt").read_bytes()) == (text, model)
    again, _ = run(whole, "course.savecheck=task", restart="auto")
    assert again.outcome == "finished"


def test_between_tasks_a_restart_names_the_command_that_goes_on(whole, tmp_path):
    run(tmp_path, "course.stop_after=2", restart="auto")
    with pytest.raises(ResumeError, match="2 of 5 tasks done: expected the saved") as caught:
        run(tmp_path, f"{EPOCHS}=4", restart="auto")
    named = str(caught.value).partition("give --loadcheck '")[2].partition("'")[0]
    result, _ = run(tmp_path, f"course.loadcheck={named}", f"{EPOCHS}=4", output="other.ckpt")
    assert [any(row) for row in measured(result.directory)] == [True] * 5


@pytest.mark.parametrize("change", [f"{EPOCHS}=1", f"{EPOCHS}=9", "architecture.training.steps=2"])
def test_in_the_middle_of_a_later_task_it_is_refused(whole, tmp_path, change):
    path = stopped(tmp_path, per_task(whole)[1] + 1)
    with pytest.raises(ResumeError, match=r"task 2 half done: .* --stop-after 3, a new run that begins with that"):
        run(tmp_path, change, restart="auto")
    with pytest.raises(ResumeError, match="Give the file of a task's end"):
        run(tmp_path, f"course.loadcheck={path}", change, output="other.ckpt")
    result, _ = run(tmp_path, restart="auto")
    assert same(states(result.model or Path()), states(whole / "model.ckpt")), "the refusals did no harm"


def test_in_the_first_task_it_is_as_without_tasks(whole, tmp_path):
    stopped(tmp_path, 2, f"{EPOCHS}=1")
    result, _ = run(tmp_path, restart="auto")
    expected, found = states(whole / "model.ckpt"), states(result.model or Path())
    # With a constant learning rate, nothing tells that the length was another one until then.
    assert found["position"] == expected["position"]
    assert found["learner"]["buffer"]["seen"] == expected["learner"]["buffer"]["seen"]


def test_a_task_that_would_be_over_is_refused(whole, tmp_path):
    stopped(tmp_path, per_task(whole)[0] - 1)
    with pytest.raises(ResumeError, match="task 0 half done: expected the saved"):
        run(tmp_path, f"{EPOCHS}=1", restart="auto")


def test_a_task_that_is_asked_for_is_begun_wherever_the_state_stood(whole, tmp_path):
    path = stopped(tmp_path, per_task(whole)[1] + 1)
    overrides = (f"course.loadcheck={path}", f"{EPOCHS}=1", "course.start_from=4")
    result, _ = run(tmp_path, *overrides, output="other.ckpt")
    assert measured(result.directory)[4] == [True] * 5
