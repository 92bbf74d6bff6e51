"""What the matrix of tasks says is computed from what was measured, as the papers define it."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.errors import StateMismatchError
from milepost.learning.matrix import TaskMatrix, file_name
from milepost.learning.matrix_text import decimals

TASKS = ("0/1", "2/3", "4/5")
ROWS = [[90.0, 20.0, 5.0], [70.0, 80.0, 25.0], [60.0, 85.0, 95.0]]
BEFORE = [10.0, 11.0, 12.0]
SCORES = {
    "average": (60 + 85 + 95) / 3,
    "forgetting": ((90 - 60) + (80 - 85)) / 2,
    "backward_transfer": ((60 - 90) + (85 - 80)) / 2,
    "forward_transfer": ((20 - 11) + (25 - 12)) / 2,
}


def cells(values: list[float], metric: str = "accuracy") -> list[dict[str, float] | None]:
    return [None if math.isnan(value) else {metric: value, "other": -1.0} for value in values]


def matrix(rows: list[list[float]] = ROWS, direction: Any = "max", **settings: Any) -> TaskMatrix:
    made = TaskMatrix(TASKS, {"accuracy": direction}, **settings)
    made.baseline(cells(BEFORE))
    for row, values in enumerate(rows):
        made.add(row, cells(values))
    return made


def test_scores_of_an_accuracy() -> None:
    assert matrix().scores("accuracy") == pytest.approx(SCORES)


def test_scores_of_an_error_turn_their_signs() -> None:
    """The same numbers as errors: what was a gain is a loss, and the best is the least."""
    errors = matrix([[-value for value in row] for row in ROWS], "min")
    errors.baseline(cells([-value for value in BEFORE]))
    assert errors.scores("accuracy") == pytest.approx(SCORES | {"average": -SCORES["average"]})


def test_scores_after_an_earlier_task() -> None:
    found = matrix().scores("accuracy", 1)
    assert found == pytest.approx(
        {"average": 75.0, "forgetting": 20.0, "backward_transfer": -20.0, "forward_transfer": 9.0}
    )


def test_nothing_can_be_forgotten_after_the_first_task() -> None:
    found = matrix(ROWS[:1]).scores("accuracy")
    assert found.pop("average") == 90.0
    assert all(math.isnan(value) for value in found.values())


def test_the_best_is_over_all_earlier_rows() -> None:
    assert matrix([[50.0, 0.0, 0.0], [90.0, 80.0, 0.0], [60.0, 80.0, 1.0]]).forgetting("accuracy") == 15.0


def test_scores_are_means_over_what_was_measured() -> None:
    gaps = matrix([[90.0], [math.nan, 80.0], [60.0, math.nan, 40.0]])
    assert gaps.scores("accuracy") == pytest.approx(
        {"average": 50.0, "forgetting": 30.0, "backward_transfer": -30.0, "forward_transfer": math.nan}, nan_ok=True
    )


def test_tasks_that_were_passed_over_don_t_count() -> None:
    """As with `--start-from 1` and a new model: what it does on the first task, it never learned."""
    late = TaskMatrix(TASKS, {"accuracy": "max"})
    late.baseline(cells(BEFORE))
    late.add(1, cells([3.0, 80.0, 25.0]))
    assert (late.learned(0), late.learned(1), late.average("accuracy", 1)) == ((), (1,), 80.0)
    assert math.isnan(late.forgetting("accuracy", 1))
    late.add(2, cells([1.0, 70.0, 95.0]))
    assert late.learned(2) == (1, 2)
    assert late.scores("accuracy") == pytest.approx(
        {"average": 82.5, "forgetting": 10.0, "backward_transfer": -10.0, "forward_transfer": 13.0}
    )


def test_what_is_learned_again_is_measured_again_and_was_known_before() -> None:
    again = matrix()
    again.forget(0)
    assert again.last is None
    assert math.isnan(again.average("accuracy"))
    again.add(0, cells([92.0, 60.0, 50.0]))
    again.add(1, cells([80.0, 88.0, 40.0]))
    assert again.history == [0, 1, 2, 0, 1]
    assert again.scores("accuracy") == pytest.approx(
        {"average": 84.0, "forgetting": 12.0, "backward_transfer": -12.0, "forward_transfer": math.nan}, nan_ok=True
    )


def test_a_task_is_met_for_the_first_time_also_if_it_is_learned_again_later() -> None:
    again = matrix()
    again.forget(1)
    again.add(1, cells([70.0, 80.0, 60.0]))
    assert again.forward_transfer("accuracy") == 9.0  # of task 1, which was not known when task 0 had been learned
    again.add(2, cells(ROWS[2]))
    assert again.forward_transfer("accuracy") == 9.0  # task 2 was, when task 1 was learned again


def test_a_matrix_is_blank_until_something_is_measured_or_learned() -> None:
    made = TaskMatrix(TASKS, {"accuracy": "max"})
    assert made.blank
    made.baseline([None] * 3)
    assert made.blank
    measured, learned = matrix([]), matrix()
    learned.baseline([])
    learned.forget(0)
    assert (measured.blank, learned.blank) == (False, False)


def test_a_metric_that_was_never_measured_has_no_scores() -> None:
    empty = TaskMatrix(TASKS, {"accuracy": "max"})
    assert empty.last is None
    assert empty.summary() == {"accuracy": dict.fromkeys(SCORES)}
    assert empty.table("accuracy").split() == ["0", "1", "2", "average"]


def test_a_joint_run_has_one_row_and_an_average_over_all_tasks() -> None:
    joint = matrix([[90.0, 80.0, 70.0]], joint=True)
    assert joint.summary()["accuracy"] == {"average": 80.0} | dict.fromkeys(list(SCORES)[1:])
    assert joint.last == 0
    assert "0  all tasks" in joint.table("accuracy")
    with pytest.raises(ValueError, match="expected a row from 0 to 0, found 1"):
        joint.add(1, [])


def test_metrics_have_matrices_of_their_own() -> None:
    both = TaskMatrix(TASKS, {"accuracy": "max", "loss": "min"})
    both.add(0, [{"accuracy": 50.0, "loss": 2.0}])
    assert (both.average("accuracy"), both.average("loss")) == (50.0, 2.0)


@pytest.mark.parametrize("row", [3, -1])
def test_a_row_that_does_not_exist_is_refused(row: int) -> None:
    with pytest.raises(ValueError, match=f"expected a row from 0 to 2, found {row}"):
        matrix().add(row, [])


def test_no_more_tasks_are_measured_than_there_are() -> None:
    with pytest.raises(ValueError, match="expected at most 3 tasks, found 4"):
        matrix().add(0, [None] * 4)


VALUES = st.lists(st.one_of(st.floats(), st.none()), max_size=3)


@given(rows=st.lists(VALUES, max_size=3), before=VALUES)
def test_a_saved_matrix_is_the_same(
    rows: list[list[float | None]], before: list[float | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    made = TaskMatrix(TASKS, {"accuracy": "max"})
    made.baseline([None if value is None else {"accuracy": value} for value in before])
    for row, values in enumerate(rows):
        made.add(row, [None if value is None else {"accuracy": value} for value in values])
    save_checkpoint(folder / "matrix.ckpt", {"matrix": made}, durability="process", overwrite=True)
    restored = TaskMatrix(TASKS, {"accuracy": "max"})
    with load_checkpoint(folder / "matrix.ckpt") as checkpoint:
        checkpoint.restore({"matrix": restored})
    made.write(folder)
    read = TaskMatrix.read(folder)
    assert read is not None
    assert made.state_dict() == restored.state_dict() == read.state_dict()
    assert made.last == restored.last == read.last
    assert made.history == restored.history == read.history == list(range(len(rows)))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (TaskMatrix(["a"], {"accuracy": "max"}), r"tasks: expected \['0/1', '2/3', '4/5'\], found \['a'\]"),
        (TaskMatrix(TASKS, {"accuracy": "min"}), "metrics: expected {'accuracy': 'max'}, found {'accuracy': 'min'}"),
        (TaskMatrix(TASKS, {"accuracy": "max"}, joint=True), "joint: expected False, found True"),
    ],
)
def test_the_state_of_another_stream_is_refused(other: TaskMatrix, message: str) -> None:
    mine = matrix()
    with pytest.raises(StateMismatchError, match=message):
        mine.load_state_dict(other.state_dict())
    assert mine.scores("accuracy") == pytest.approx(SCORES)


def test_a_state_with_entries_missing_is_refused() -> None:
    state = matrix().state_dict()
    state["rows"]["accuracy"][1].pop()
    with pytest.raises(StateMismatchError, match="rows: expected one entry for each task"):
        matrix().load_state_dict(state)


def test_files_for_people_and_programs(tmp_path: Path) -> None:
    made = matrix(ROWS[:2])
    made.write(tmp_path)
    made.add(2, cells([*ROWS[2][:2], math.nan]))
    made.write(tmp_path)
    content = json.loads((tmp_path / "tasks.json").read_text())
    assert list(content) == ["format", "tasks", "metrics", "joint", "before", "rows", "history", "scores"]
    assert content["rows"]["accuracy"][2] == [60.0, 85.0, None]
    assert content["scores"]["accuracy"]["average"] == 72.5
    with (tmp_path / "matrix-accuracy.csv").open(newline="") as stream:
        lines = list(csv.reader(stream))
    assert lines[0] == ["after", *TASKS]
    assert lines[1] == ["nothing", "10.0", "11.0", "12.0"]
    assert lines[4] == ["4/5", "60.0", "85.0", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["matrix-accuracy.csv", "tasks.json"]


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"format": 2}', '{"format": 1, "tasks": 3}'])
def test_files_of_another_kind_are_none_of_ours(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "tasks.json").write_text(text)
    assert TaskMatrix.read(tmp_path) is None


@pytest.mark.parametrize(("metric", "name"), [("accuracy", "accuracy"), ("forces rmse/mean", "forces-rmse-mean")])
def test_names_of_files(metric: str, name: str) -> None:
    assert file_name(metric) == name


def test_a_table_for_people() -> None:
    assert matrix([[90.0, 20.0], [70.0, 80.5]]).table("accuracy").splitlines() == [
        "               0      1      2  average",
        "   before  10.00  11.00  12.00",
        "0  0/1     90.00  20.00           90.00",
        "1  2/3     70.00  80.50           75.25",
        "average 75.25, forgetting 20.00, backward transfer -20.00, forward transfer 9.00",
    ]


def test_a_zero_has_no_sign() -> None:
    rows = [[90.0, -0.0001], [90.0000001, 80.0]]
    text = matrix(rows).table("accuracy")
    assert "forgetting 0.00" in text
    assert "-0.00" not in text


def test_a_table_of_many_tasks_is_narrow() -> None:
    many = TaskMatrix([f"task {i}" for i in range(20)], {"accuracy": "max"})
    for row in range(20):
        many.add(row, [{"accuracy": 100.0 - task} for task in range(20)])
    lines = many.table("accuracy").splitlines()
    assert len(lines) == 22
    assert max(map(len, lines)) <= 140


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([99.1, 3.0], 2),
        ([100.0], 2),
        ([0.0312], 5),
        ([12345.0], 0),
        ([0.0], 1),
        ([math.nan, math.inf], 1),
        ([1e-20], 8),
    ],
)
def test_numbers_have_as_many_decimals_as_the_largest_needs(values: list[float], places: int) -> None:
    assert decimals(values, 4) == places
