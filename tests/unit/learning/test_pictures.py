"""Pictures of a matrix show every entry, and are the same each time."""

import zlib
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from milepost.learning.matrix import TaskMatrix
from milepost.learning.pictures import _curve, _map, draw_matrix


def staircase(tasks: int, name: str = "{}") -> TaskMatrix:
    """Make a matrix in which a task is measured once the one before it was learned."""
    matrix = TaskMatrix([name.format(number) for number in range(tasks)], {"task_accuracy": "max"})
    for row in range(tasks):
        matrix.add(row, [{"task_accuracy": 100.0 - row + column} for column in range(min(tasks, row + 2))])
    return matrix


def drawn(figure: Figure) -> Figure:
    FigureCanvasAgg(figure).draw()
    return figure


def chunks(file: Path) -> dict[bytes, bytes]:
    """Return the parts of a PNG file by their names (PNG specification, section 5.3)."""
    data, found, place = file.read_bytes(), {}, 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        name, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert zlib.crc32(name + content) == int.from_bytes(data[place + 8 + length : place + 12 + length], "big")
        found[name] = content
        place += 12 + length
    return found


def test_two_pictures_for_a_metric_the_same_each_time(tmp_path: Path) -> None:
    first = draw_matrix(staircase(3), tmp_path)
    before = [path.read_bytes() for path in first]
    assert [path.name for path in first] == ["matrix-task_accuracy.png", "average-task_accuracy.png"]
    assert [path.read_bytes() for path in draw_matrix(staircase(3), tmp_path)] == before
    assert sorted(tmp_path.iterdir()) == sorted(first)


def test_nothing_but_the_picture_is_in_the_file(tmp_path: Path) -> None:
    for path in draw_matrix(staircase(2), tmp_path):
        assert set(chunks(path)) <= {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


@pytest.mark.parametrize("tasks", [2, 20])
def test_every_entry_is_written_into_its_cell(tasks: int) -> None:
    """At 20 tasks, too, the numbers lie in their cells and are of a size that can be read."""
    figure = drawn(_map(staircase(tasks), "task_accuracy"))
    axes = figure.axes[0]
    assert len(axes.texts) == sum(min(tasks, row + 2) for row in range(tasks))
    cell = abs(axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0])
    for text in axes.texts:
        assert text.get_window_extent().width < cell
        assert text.get_fontsize() >= 8


def test_where_cells_are_too_small_numbers_are_left_out() -> None:
    assert list(_map(staircase(40), "task_accuracy").axes[0].texts) == []


def test_axes_are_named_in_words() -> None:
    axes = _map(staircase(3, "task {}"), "task_accuracy").axes[0]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == (
        "task accuracy",
        "measured on",
        "after learning",
    )
    assert [label.get_text() for label in axes.get_xticklabels()] == ["task 0", "task 1", "task 2"]
    curve = _curve(staircase(3), "task_accuracy").axes[0]
    assert (curve.get_xlabel(), curve.get_ylabel()) == ("tasks learned", "task accuracy, average over these")


def test_a_long_name_is_cut() -> None:
    names = [
        label.get_text() for label in _map(staircase(2, "x" * 40 + "{}"), "task_accuracy").axes[0].get_xticklabels()
    ]
    assert names == ["x" * 23 + "…"] * 2


def test_a_curve_is_of_the_averages() -> None:
    line = _curve(staircase(3), "task_accuracy").axes[0].lines[0]
    assert line.get_xydata().tolist() == [[1, 100.0], [2, 99.5], [3, 99.0]]


@pytest.mark.parametrize(("direction", "darkest"), [("max", 5.0), ("min", 9.0)])
def test_darker_is_worse(direction: str, darkest: float) -> None:
    matrix = TaskMatrix(["a", "b"], {"metric": direction})
    matrix.add(1, [{"metric": 5.0}, {"metric": 9.0}])
    shown = _map(matrix, "metric").axes[0].images[0]
    assert min((5.0, 9.0), key=lambda value: sum(shown.to_rgba(value)[:3])) == darkest


def test_a_joint_run_and_an_empty_one_are_drawn(tmp_path: Path) -> None:
    joint = TaskMatrix(["a", "b"], {"loss": "min"}, joint=True)
    joint.add(0, [{"loss": 1.0}, {"loss": float("inf")}])
    assert len(draw_matrix(joint, tmp_path)) == 2
    assert len(draw_matrix(TaskMatrix(["a", "b"], {"empty": "min"}), tmp_path)) == 2
