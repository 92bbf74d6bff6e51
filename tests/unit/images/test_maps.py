"""A task's view of an image is a map: the one that PIL makes, or a permutation, drawn once for each task."""

import numpy as np
import pytest
import torch

from image_files import numbered
from milepost.images.maps import angle, rotation, task_maps

SIZES = [(28, 28), (8, 8), (7, 12), (5, 9)]
ANGLES = [*range(-360, 721, 15), 1e-9, 0.001, 89.9999999, 359.99999, *np.random.default_rng(0).uniform(0, 180, 200)]


def seen(image: np.ndarray, places: torch.Tensor) -> np.ndarray:
    """Look at an image through a map."""
    return np.append(image.reshape(-1), np.uint8(0))[places.numpy()].reshape(image.shape)


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_a_rotation_is_that_of_pil(rows: int, columns: int) -> None:
    pil = pytest.importorskip("PIL.Image")
    image = numbered(1, rows, columns)[0]
    whole = pil.fromarray(image)
    wrong = [
        a for a in ANGLES if not np.array_equal(seen(image, rotation(a, rows, columns)), np.array(whole.rotate(a)))
    ]
    assert wrong == []


def test_a_rotation_turns_counterclockwise() -> None:
    image = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    assert seen(image, rotation(90.0, 2, 2)).tolist() == [[2, 4], [1, 3]]
    assert seen(image, rotation(180.0, 2, 2)).tolist() == [[4, 3], [2, 1]]
    assert seen(image, rotation(0.0, 2, 2)).tolist() == [[1, 2], [3, 4]]


def test_what_turns_out_of_sight_is_blank() -> None:
    places = rotation(45.0, 9, 9)
    assert int((places == 81).sum()) > 0
    assert int(places.min()) >= 0
    assert int(places.max()) == 81


def test_angles_are_spread_evenly_below_180_degrees() -> None:
    found = torch.tensor([angle(3, task) for task in range(4000)], dtype=torch.float64)
    assert 0 <= float(found.min()) < 1
    assert 179 < float(found.max()) < 180
    # The mean of 4000 uniform numbers strays by 180 / sqrt(12 · 4000) = 0.82.
    assert abs(float(found.mean()) - 90) < 4 * 0.82


def test_a_task_has_a_permutation_of_its_own_the_first_one_too() -> None:
    maps = task_maps("permuted", 0, 5, 4, 6)
    assert maps is not None
    assert maps.shape == (5, 24)
    assert all(sorted(places) == list(range(24)) for places in maps.tolist())
    assert len({tuple(places) for places in maps.tolist()} | {tuple(range(24))}) == 6


def test_a_task_is_turned_by_its_angle() -> None:
    maps = task_maps("rotated", 5, 3, 8, 8)
    assert maps is not None
    assert [places.tolist() for places in maps] == [rotation(angle(5, task), 8, 8).tolist() for task in range(3)]


@pytest.mark.parametrize("division", ["permuted", "rotated"])
def test_maps_follow_from_seed_and_task_alone(division) -> None:
    few, many, other = (task_maps(division, s, n, 8, 8) for s, n in ((1, 2), (1, 4), (2, 4)))
    assert few is not None
    assert many is not None
    assert torch.equal(few, many[:2])
    assert not torch.equal(many, other)


@pytest.mark.parametrize("division", ["classes", "whole"])
def test_other_divisions_show_images_as_they_are(division) -> None:
    assert task_maps(division, 0, 5, 8, 8) is None
