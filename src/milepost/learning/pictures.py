"""Draw a matrix of tasks into files.

    matrix-METRIC.png     a cell for each task learned (rows) and each task measured (columns)
    average-METRIC.png    the average over the tasks learned so far, task by task

Promise: the bytes are a function of the matrix, of matplotlib and of its settings: no date, no path, no version. The
colors are told apart by people who see few of them, and in gray: darker is worse. Nothing of matplotlib's global state
is used or changed. Needs matplotlib, which is imported when something is drawn.
Failure: OSError or CommitError where a file can't be written.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from milepost.archive import atomic_write
from milepost.learning.matrix import TaskMatrix, file_name
from milepost.learning.matrix_text import decimals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLORS = "cividis"
"""J. R. Nuñez, C. R. Anderton, R. S. Renslow, PLOS ONE 13 (2018) e0199239: the same for every kind of color vision."""
NOT_MEASURED = "0.9"
HALF_LIGHT = 0.45
DOTS_PER_INCH = 120
FONT_SIZE = 8.0
SMALLEST, LARGEST = 0.5, 0.8
"""Inches of a cell's side: the first has room for a number of four digits in a size that can be read."""
WIDEST = 14.0
"""Inches that a matrix may take; beyond, cells are smaller and numbers are left out."""
LETTER = 0.085
"""Inches that a letter of a name takes, at most, as wide letters are rare."""
SHORT_NAME, LONG_NAME = 5, 24
"""Letters that fit below a cell, and those of a name that are shown at most."""
COLOR_BAR = 0.2


def draw_matrix(matrix: TaskMatrix, folder: Path) -> tuple[Path, ...]:
    """Draw every metric's matrix and average, in the place of pictures of before; return their files."""
    drawn: list[Path] = []
    for metric in matrix.metrics:
        for name, figure in (("matrix", _map(matrix, metric)), ("average", _curve(matrix, metric))):
            path = folder / f"{name}-{file_name(metric)}.png"
            _save(figure, path)
            drawn.append(path)
    return tuple(drawn)


def _map(matrix: TaskMatrix, metric: str) -> "Figure":
    rows, names = matrix.rows[metric], [_short(name) for name in matrix.tasks]
    learned = ["all tasks"] if matrix.joint else names
    cell = min(max(4.0 / len(names), SMALLEST), LARGEST, WIDEST / len(names))
    longest, upright = max(map(len, names)), max(map(len, names)) <= SHORT_NAME
    left, right = 0.6 + LETTER * max(map(len, learned)), COLOR_BAR + 0.9
    bottom, top = 0.6 + (0.1 if upright else LETTER * longest), 0.4
    width, height = cell * len(names), cell * len(rows)
    figure = _figure(left + width + right, bottom + height + top)
    axes = _axes(figure, left, bottom, width, height)
    values = [value for row in rows for value in row if math.isfinite(value)] or [0.0]
    colors = COLORS if matrix.metrics[metric] == "max" else f"{COLORS}_r"
    shown = axes.imshow(rows, cmap=colors, vmin=min(values), vmax=max(values), aspect="auto")
    axes.set_facecolor(NOT_MEASURED)
    axes.set_xticks(range(len(names)), names, rotation=0 if upright else 90)
    axes.set_yticks(range(len(learned)), learned)
    axes.set_xlabel("measured on")
    axes.set_ylabel("after learning")
    axes.set_title(_words(metric))
    if cell >= SMALLEST:
        _write_numbers(axes, shown, rows)
    figure.colorbar(shown, cax=_axes(figure, left + width + 0.2, bottom, COLOR_BAR, height))
    return figure


def _write_numbers(axes: "Axes", shown: "AxesImage", rows: Sequence[Sequence[float]]) -> None:
    """Write every entry into its cell, black on light colors and white on dark ones."""
    places = decimals([value for row in rows for value in row], 3)
    colors = np.asarray(shown.cmap(shown.norm(np.array(rows))))
    # Luminance of the primaries (ITU-R BT.709), here of encoded values: good enough to choose.
    light = colors[..., :3] @ np.array([0.2126, 0.7152, 0.0722]) > HALF_LIGHT
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            if math.isfinite(value):
                color = "black" if light[row, column] else "white"
                number = axes.text(column, row, f"{value:z.{places}f}", ha="center", va="center", color=color)
                number.set_fontsize(FONT_SIZE)


def _curve(matrix: TaskMatrix, metric: str) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    rows = range(len(matrix.rows[metric]))
    points = [(len(matrix.learned(row)), matrix.average(metric, row)) for row in rows]
    figure = _figure(5.0, 3.5)
    axes = _axes(figure, 0.9, 0.6, 3.9, 2.7)
    axes.plot([count for count, _ in points], [value for _, value in points], marker="o", color="C0")
    axes.set_xlim(0.5, len(matrix.tasks) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("tasks learned")
    axes.set_ylabel(f"{_words(metric)}, average over these")
    axes.grid(visible=True, alpha=0.3)
    return figure


def _figure(width: float, height: float) -> "Figure":
    """Make a figure of this size in inches that no window and no list of figures knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    """Place axes, in inches from the lower left corner: to leave this to matplotlib is to draw everything twice."""
    whole_width, whole_height = figure.get_size_inches()
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


def _save(figure: "Figure", path: Path) -> None:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})

    def put(stream: BinaryIO) -> None:
        stream.write(drawn.getbuffer())

    atomic_write(path, put, durability="process", overwrite=True)


def _short(name: str) -> str:
    return name if len(name) <= LONG_NAME else f"{name[: LONG_NAME - 1]}…"


def _words(metric: str) -> str:
    return metric.replace("_", " ")
