"""The benchmarks of continual learning by name: which images, divided into which tasks.

Needs no torch, so that options are checked by this table before anything is read. Protocols are those of P. Buzzega,
M. Boschini, A. Porrello, D. Abati, S. Calderara, Dark experience for general continual learning, NeurIPS 2020: tasks
of two classes for sequential sets, 20 tasks for permuted and rotated ones, of which also the first is permuted or
rotated.
"""

from dataclasses import dataclass
from typing import Literal

Division = Literal["classes", "permuted", "rotated", "whole"]
"""How images become tasks: by their classes; all in each task, each task seen through a permutation or a rotation of
its own; or all in one task."""

DIGITS = tuple(str(digit) for digit in range(10))

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""Class names as its makers list them: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747."""

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Class names in the order of the data set's own list: A. Krizhevsky, Learning multiple layers of features from tiny
images, University of Toronto, 2009."""


@dataclass(frozen=True)
class Source:
    """Describe a published set of labelled images; `names` is empty where a file of the set has the class names."""

    name: str
    title: str
    classes: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """Describe a division of a source into `tasks` tasks."""

    name: str
    source: Source
    division: Division
    tasks: int


SOURCES = (
    Source("digits", "scikit-learn's digits", 10, DIGITS),
    Source("mnist", "MNIST", 10, DIGITS),
    Source("fashion-mnist", "Fashion-MNIST", 10, FASHION),
    Source("cifar10", "CIFAR-10", 10, CIFAR10),
    Source("cifar100", "CIFAR-100", 100),
)

_SOURCE = {source.name: source for source in SOURCES}

_ROWS: tuple[tuple[str, str, Division, int], ...] = (
    ("seq-digits", "digits", "classes", 5),
    ("seq-mnist", "mnist", "classes", 5),
    ("seq-fashion-mnist", "fashion-mnist", "classes", 5),
    ("seq-cifar10", "cifar10", "classes", 5),
    ("seq-cifar100", "cifar100", "classes", 10),
    ("perm-digits", "digits", "permuted", 5),
    ("perm-mnist", "mnist", "permuted", 20),
    ("rot-digits", "digits", "rotated", 5),
    ("rot-mnist", "mnist", "rotated", 20),
    *((source.name, source.name, "whole", 1) for source in SOURCES),
)

BENCHMARKS = {name: Benchmark(name, _SOURCE[source], division, tasks) for name, source, division, tasks in _ROWS}
