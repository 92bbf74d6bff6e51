"""Pictures follow the matrix where there is time for it, and do no harm."""

import os
import random
from pathlib import Path

import numpy as np
import pytest

from milepost.errors import CommitError
from milepost.learning import TaskMatrix, pictures
from milepost.run.task_pictures import AT_HAND, EXPECTED, TIMES, TaskPictures


class Clock:
    """Tell the time that a test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Drawing:
    """Stand in for what draws: it takes time, draws random numbers, and may fail."""

    def __init__(self, clock: Clock, takes: float) -> None:
        self.clock, self.takes = clock, takes
        self.rows: list[int | None] = []
        self.error: Exception | None = None

    def __call__(self, matrix: TaskMatrix, folder: Path) -> None:
        self.clock.now += self.takes
        random.random()
        np.random.random()
        if self.error is not None:
            raise self.error
        self.rows.append(matrix.last)
        (folder / "matrix-error.png").write_bytes(b"drawn")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def drawing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Drawing:
    made = Drawing(clock, takes=2.0)
    monkeypatch.setattr(pictures, "draw_matrix", made)
    return made


def learned(matrix: TaskMatrix, task: int) -> TaskMatrix:
    matrix.add(task, [{"error": float(task)}] * (task + 1))
    return matrix


@pytest.fixture
def matrix() -> TaskMatrix:
    return TaskMatrix([str(number) for number in range(9)], {"error": "min"})


def test_tasks_that_are_soon_over_are_drawn_when_the_run_is_left(tmp_path, clock, drawing, matrix):
    found = TaskPictures(tmp_path, pytest.fail, clock)
    for task in range(5):
        clock.now += TIMES * EXPECTED / 6
        found(learned(matrix, task))
        kept = TaskMatrix.read(tmp_path)
        assert kept is not None
        assert kept.last == task, "written after each all the same"
    assert drawing.rows == []
    found.leave(matrix)
    found.leave(matrix)
    assert drawing.rows == [4], "once, not again while nothing is new"


def test_tasks_that_take_long_are_drawn_one_by_one(tmp_path, clock, drawing, matrix):
    found = TaskPictures(tmp_path, pytest.fail, clock)
    for task in range(3):
        clock.now += TIMES * drawing.takes
        found(learned(matrix, task))
    assert drawing.rows == [0, 1, 2]
    found.leave(matrix)
    assert drawing.rows == [0, 1, 2]


def test_a_small_share_of_the_time_is_spent(tmp_path, clock, drawing, matrix):
    found = TaskPictures(tmp_path, pytest.fail, clock)
    for _ in range(1000):
        clock.now += 1.0
        found(learned(matrix, 0))
    assert len(drawing.rows) >= 10
    assert len(drawing.rows) * drawing.takes <= clock.now / TIMES


def test_a_process_draws_what_one_that_was_killed_did_not(tmp_path, clock, drawing, matrix):
    learned(matrix, 0).write(tmp_path)
    TaskPictures(tmp_path, pytest.fail, clock).leave(matrix)
    os.utime(tmp_path / "tasks.json", ns=(1, (tmp_path / "matrix-error.png").stat().st_mtime_ns + 1))
    TaskPictures(tmp_path, pytest.fail, clock).leave(matrix)
    assert drawing.rows == [0, 0]


def test_nothing_is_drawn_where_there_is_nothing(tmp_path, clock, drawing, matrix):
    found = TaskPictures(tmp_path, pytest.fail, clock)
    found.leave(None)
    found.leave(matrix)
    found.leave(learned(matrix, 0))  # what another run measured
    assert drawing.rows == []


@pytest.mark.parametrize(("left", "drawn"), [(AT_HAND * EXPECTED + 0.1, [0]), (AT_HAND * EXPECTED - 0.1, [])])
def test_no_time_is_taken_that_is_not_there(tmp_path, clock, drawing, matrix, left, drawn):
    found = TaskPictures(tmp_path, pytest.fail, clock)
    found(learned(matrix, 0))
    found.leave(matrix, left)
    assert drawing.rows == drawn


@pytest.mark.parametrize("error", [ValueError("no font"), CommitError("full"), OSError("gone"), ImportError("none")])
def test_an_error_is_said_and_random_numbers_stay_as_they_were(tmp_path, clock, drawing, matrix, error):
    said: list[str] = []
    found = TaskPictures(tmp_path, said.append, clock)
    drawing.error = error
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    clock.now += TIMES * EXPECTED
    found(learned(matrix, 0))
    assert said == [f"the pictures of the tasks were not drawn: {type(error).__name__}: {error}"]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    if isinstance(error, OSError | CommitError):
        with pytest.raises(type(error)):
            found.draw(matrix)
    else:
        found.draw(matrix)
