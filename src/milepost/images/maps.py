"""Views of an image as index maps: which place of the original each place of the view shows.

A view costs one gather, whatever it is, and a task of a permuted or rotated benchmark is its map: nothing is stored per
task but that. Place `size` means blank (0); images get one blank place behind their last.

Promise: a map is a pure function of (seed, task) and of the image's size, drawn from the counter-based hash of
`milepost.run.order`. The protocol is that of Buzzega et al., NeurIPS 2020 (the authors' code, tag `neurips2020`): a
permutation of all places for each task, or an angle for each task, uniform from 0 up to 180 degrees; the first task's
is drawn like the others.
"""

import math

import numpy as np
import torch
from torch import Tensor

from milepost.images.benchmarks import Division
from milepost.run.order import keys, permutation

PERMUTATIONS, ANGLES = 2**32 - 2, 2**32 - 3
"""Task numbers under which maps are drawn, so that they share no keys with any order of examples."""

FIXED_POINT = 16
"""Bits behind the point of the coordinates with which PIL rotates."""


def task_maps(division: Division, seed: int, tasks: int, rows: int, columns: int) -> Tensor | None:
    """Return the maps [tasks, rows · columns] of a benchmark's tasks, None where they show images as they are."""
    if division == "permuted":
        return torch.stack([permutation(seed, PERMUTATIONS, task, rows * columns) for task in range(tasks)])
    if division == "rotated":
        return torch.stack([rotation(angle(seed, task), rows, columns) for task in range(tasks)])
    return None


def angle(seed: int, task: int) -> float:
    """Return a task's angle in degrees, from 0 to below 180."""
    return 180.0 * (int(keys(seed, ANGLES, task, 1)[0]) >> 11) * 2.0**-53


def rotation(degrees: float, rows: int, columns: int) -> Tensor:
    """Return the map [rows · columns] that turns an image counterclockwise about its center.

    It shows the nearest place, as `PIL.Image.rotate` does by default: the place whose 16-bit fixed-point coordinates
    an affine map gives for the middle of each pixel.
    """
    turned = _right_angle(degrees % 360.0, rows, columns)
    if turned is not None:
        return torch.from_numpy(turned.reshape(-1).copy())
    radians = -math.radians(degrees % 360.0)
    cosine, sine = round(math.cos(radians), 15), round(math.sin(radians), 15)
    x, y = columns / 2, rows / 2
    shift = (cosine * -x + sine * -y + x, -sine * -x + cosine * -y + y)
    across, along = np.arange(columns, dtype=np.int64), np.arange(rows, dtype=np.int64)[:, None]
    column = _fixed(shift[0] + 0.5 * cosine + 0.5 * sine) + _fixed(cosine) * across + _fixed(sine) * along
    row = _fixed(shift[1] - 0.5 * sine + 0.5 * cosine) + _fixed(-sine) * across + _fixed(cosine) * along
    column, row = column >> FIXED_POINT, row >> FIXED_POINT
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    return torch.from_numpy(np.where(inside, row * columns + column, rows * columns).reshape(-1))


def _right_angle(degrees: float, rows: int, columns: int) -> np.ndarray | None:
    """Turn by a multiple of 90 degrees without rounding; only half turns leave an oblong image its shape."""
    places = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns)
    if degrees in (0.0, 180.0) or (degrees in (90.0, 270.0) and rows == columns):
        return np.rot90(places, int(degrees) // 90)
    return None


def _fixed(value: float) -> int:
    return math.floor(value * (1 << FIXED_POINT) + 0.5)
