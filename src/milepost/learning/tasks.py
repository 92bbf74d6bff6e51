"""Tasks: what is learned in turn.

A task is a pure function of options and data: its examples are numbers in the training set of the whole stream, so that
a run's position in it is one integer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from milepost.learning.data import DataSet


@dataclass(frozen=True)
class Task:
    """Hold one task: its name, the numbers [n] of its examples in the training set, and its held-out sets.

    `held_out` has data sets by name ("validation", "test"), of this task alone. `classes` are the labels that its
    examples can have; empty where they have none.
    """

    name: str
    training: Tensor
    held_out: Mapping[str, DataSet] = field(default_factory=dict[str, DataSet])
    classes: tuple[int, ...] = ()
