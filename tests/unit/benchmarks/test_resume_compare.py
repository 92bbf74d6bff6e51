"""What the benchmark of resuming counts, on made-up runs."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FILE = Path(__file__).parents[3] / "benchmarks" / "resume_compare.py"


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("resume_compare", FILE)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules["resume_compare"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["resume_compare"]


def weights(**changes):
    return {"a": np.array([3.0, 4.0], dtype=np.float32), "b": np.zeros((2, 2), dtype=np.float32)} | changes


def test_equal_weights_have_no_distance(compare):
    assert compare.distance(weights(), weights()) == compare.Distance(0, 2, 0.0, 0.0)


def test_a_difference_is_measured_against_the_size_of_what_differs(compare):
    constant = np.full(3, 1e6)
    moved = weights(a=np.array([3.3, 3.6], dtype=np.float32), c=constant)
    found = compare.distance(weights(c=constant), moved)
    assert (found.differing, found.tensors) == (1, 3)
    assert found.largest == pytest.approx(0.4)
    assert found.relative == pytest.approx(0.5 / 5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float32(1.0), np.nextafter(np.float32(1.0), np.float32(2.0))),
        (np.float32(0.0), np.float32(-0.0)),
        (np.float32(1.0), np.float64(1.0)),
    ],
)
def test_one_bit_is_a_difference(compare, one, other):
    assert compare.distance({"a": np.array([one])}, {"a": np.array([other])}).differing == 1


@pytest.mark.parametrize(
    "other",
    [
        {"a": weights()["a"]},
        weights(b=np.zeros(4, dtype=np.float32)),
        weights(c=np.zeros(1, dtype=np.float32)),
        weights(a=np.array([3.0, math.nan], dtype=np.float32)),
        weights(a=np.array([3.0, math.inf], dtype=np.float32)),
    ],
)
def test_what_can_not_be_measured_is_infinitely_far(compare, other):
    for found in (compare.distance(weights(), other), compare.distance(other, weights())):
        assert (found.differing, found.largest) == (1, math.inf)
        assert not found.relative < math.inf


def test_the_same_nan_is_no_difference(compare):
    same = {"a": np.array([math.nan])}
    assert compare.distance(same, {"a": np.array([math.nan])}).differing == 0


@pytest.mark.parametrize(
    ("stopped", "faults"),
    [
        ([20, 40, 60], (0, 0)),
        ([20, 40, 40, 60], (1, 0)),
        ([20, 60], (0, 1)),
        ([20, 40, 60, 20, 40, 60], (3, 0)),
        ([20, 35, 60], (1, 1)),
        ([], (0, 3)),
    ],
)
def test_rows_of_a_log_are_counted(compare, stopped, faults):
    assert compare.row_faults([20, 40, 60], stopped) == faults


def batches(compare, *rows):
    return [compare.Batch(epoch, examples) for epoch, examples in rows]


def test_a_run_consists_of_the_steps_before_the_checkpoint_and_those_after(compare):
    first = batches(compare, (0, (0, 1)), (0, (2, 3)), (1, (4, 5)))
    second = batches(compare, (0, (2, 3)), (1, (0, 1)))
    assert compare.joined([first, second], [1]) == [first[0], *second]
    assert compare.joined([first], []) == first


def test_examples_that_came_again_or_never_are_counted_by_epoch(compare):
    exact = batches(compare, (0, (0, 1)), (0, (2, 3)), (1, (3, 2)), (1, (1, 0)))
    assert compare.uneven(exact, range(4)) == (0, 0)
    repeated = batches(compare, (0, (0, 1)), (0, (1, 2)), (1, (3, 3)), (1, (3, 0)))
    assert compare.uneven(repeated, range(4)) == (1 + 2, 1 + 2)


def test_steps_with_other_examples_are_counted(compare):
    kept = batches(compare, (0, (0, 1)), (0, (2, 3)), (1, (0, 2)))
    assert compare.other_batches(kept, batches(compare, (0, (1, 0)), (0, (2, 3)), (1, (0, 2)))) == 0
    assert compare.other_batches(kept, batches(compare, (0, (0, 1)), (0, (2, 2)), (1, (0, 3)))) == 2
    assert compare.other_batches(kept, kept[:2]) == 1


def test_the_growth_of_a_time_is_a_slope_with_its_error(compare):
    exact = compare.growth([0, 1, 2, 3], [5.0, 7.0, 9.0, 11.0])
    assert exact.slope == pytest.approx(2.0)
    assert exact.error == pytest.approx(0.0, abs=1e-12)
    scattered = compare.growth([0, 0, 1, 1], [-1.0, 1.0, 1.0, 3.0])
    assert scattered.slope == pytest.approx(2.0)
    assert scattered.error == pytest.approx(math.sqrt(2.0))


def test_without_a_spread_there_is_no_growth(compare):
    found = compare.growth([1, 1, 1], [1.0, 2.0, 3.0])
    assert math.isnan(found.slope)
    assert math.isnan(found.error)
