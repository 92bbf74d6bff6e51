"""The table of benchmarks agrees with itself, and with what the options offer."""

from typing import get_args

import pytest

from milepost.images.benchmarks import BENCHMARKS, SOURCES
from milepost.images.options import BenchmarkName


def test_the_options_offer_every_benchmark() -> None:
    assert set(get_args(BenchmarkName)) == set(BENCHMARKS)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_source_names_all_its_classes_or_none(source) -> None:
    assert len(source.names) in (0, source.classes)
    assert len(set(source.names)) == len(source.names)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda benchmark: benchmark.name)
def test_classes_are_divided_evenly(benchmark) -> None:
    if benchmark.division == "classes":
        assert benchmark.source.classes % benchmark.tasks == 0
    elif benchmark.division == "whole":
        assert benchmark.tasks == 1


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("seq-mnist", 5), ("perm-mnist", 20), ("rot-mnist", 20), ("seq-cifar10", 5), ("seq-cifar100", 10), ("mnist", 1)],
)
def test_the_published_protocols(name: str, tasks: int) -> None:
    assert BENCHMARKS[name].tasks == tasks
