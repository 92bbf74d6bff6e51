"""However a run is left, its directory has the pictures of the tasks that are done; they are of no consequence."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lifecycle.test_task_files import OPTIONS, run, same, states
from lifecycle.test_task_lengths import stopped
from milepost.cli.validation import read_options
from milepost.errors import DivergedError
from milepost.learning import TaskMatrix, pictures
from milepost.learning.pictures import draw_matrix
from milepost.run import Reporter, Request, task_pictures, train

TASK = 6
"""Steps of the first task: two passes over 290 images and something in batches of a hundred."""

NAMES = ["average-accuracy.png", "average-task_accuracy.png", "matrix-accuracy.png", "matrix-task_accuracy.png"]


def drawn(folder: Path) -> dict[str, bytes]:
    """Return the pictures in a run's directory."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("outputs/*/*/*.png"))}


def expected(folder: Path, place: Path) -> dict[str, bytes]:
    """Draw what the run has written of its matrix."""
    (directory,) = folder.glob("outputs/*/*")
    matrix = TaskMatrix.read(directory)
    assert matrix is not None
    place.mkdir()
    draw_matrix(matrix, place)
    return {path.name: path.read_bytes() for path in sorted(place.iterdir())}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """List the last task of each drawing."""
    rows: list[int | None] = []

    def counting(matrix: TaskMatrix, folder: Path) -> None:
        rows.append(matrix.last)
        (folder / "matrix-accuracy.png").write_bytes(b"drawn")

    monkeypatch.setattr(pictures, "draw_matrix", counting)
    return rows


def test_a_run_that_is_stopped_has_the_pictures_of_the_tasks_done(tmp_path):
    stopped(tmp_path, 2 * TASK + 3)
    assert list(drawn(tmp_path)) == NAMES
    assert drawn(tmp_path) == expected(tmp_path, tmp_path / "again")


def test_a_run_that_diverges_has_them(tmp_path, counted):
    class Spoiling(Reporter):
        def step(self, done: int) -> None:
            if done == TASK + 2:
                raise DivergedError("made up")

    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump(OPTIONS), encoding="utf-8")
    options, architecture = read_options(path, (), for_training=True)
    with pytest.raises(DivergedError, match="made up"):
        train(Request(options, architecture, tmp_path, tmp_path / "model.ckpt", "auto"), Spoiling())
    assert counted == [0]


def test_a_quick_run_draws_at_its_end_alone(tmp_path, counted):
    run(tmp_path)
    assert counted == [4]


def test_drawing_after_every_task_changes_nothing_else(tmp_path, monkeypatch):
    run(tmp_path / "alone")
    rows: list[int | None] = []

    def counting(matrix: TaskMatrix, folder: Path) -> None:
        rows.append(matrix.last)
        draw_matrix(matrix, folder)

    monkeypatch.setattr(pictures, "draw_matrix", counting)
    monkeypatch.setattr(task_pictures, "TIMES", 0)
    run(tmp_path / "drawing")
    assert rows == [0, 1, 2, 3, 4, 4]
    one, other = tmp_path / "alone" / "model.ckpt", tmp_path / "drawing" / "model.ckpt"
    assert same(states(one), states(other))
    assert drawn(tmp_path / "alone") == drawn(tmp_path / "drawing")


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lifecycle.test_task_lengths import stopped
stopped(Path(sys.argv[2]), int(sys.argv[3]))
sys.stdout.write(str("matplotlib" in sys.modules))
"""


@pytest.mark.parametrize(("step", "imported"), [(TASK - 1, "False"), (TASK + 1, "True")])
def test_matplotlib_is_imported_when_something_is_drawn(tmp_path, step, imported):
    tests = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tests, str(tmp_path), str(step)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == imported
    assert bool(drawn(tmp_path)) == (imported == "True")
