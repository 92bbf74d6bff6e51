"""Sequences of tasks, for any domain: what is learned in turn, how a learner keeps what it knew, and how well it does.

The names below are imported when they are first used, so that choosing a learner (`milepost.learning.registry`) needs
no torch. The list of learners, `learners()`, is there: here the name belongs to the package of those that come along.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from milepost.learning.buffers import make_buffer
    from milepost.learning.data import Batch, DataSet, Examples, ExampleSet
    from milepost.learning.draws import Draws
    from milepost.learning.keeping import Buffer
    from milepost.learning.learner import Learner, Setting, StepLoss, Stretch, Taken
    from milepost.learning.matrix import TaskMatrix
    from milepost.learning.objective import Classification, LossOnly, Objective
    from milepost.learning.registry import LearnerSpec, find_learner
    from milepost.learning.tasks import Task

_PLACES = {
    "Batch": "data",
    "Buffer": "keeping",
    "Classification": "objective",
    "DataSet": "data",
    "Draws": "draws",
    "ExampleSet": "data",
    "Examples": "data",
    "Learner": "learner",
    "LearnerSpec": "registry",
    "LossOnly": "objective",
    "Objective": "objective",
    "Setting": "learner",
    "StepLoss": "learner",
    "Stretch": "learner",
    "Taken": "learner",
    "Task": "tasks",
    "TaskMatrix": "matrix",
    "find_learner": "registry",
    "make_buffer": "buffers",
}

__all__ = [
    "Batch",
    "Buffer",
    "Classification",
    "DataSet",
    "Draws",
    "ExampleSet",
    "Examples",
    "Learner",
    "LearnerSpec",
    "LossOnly",
    "Objective",
    "Setting",
    "StepLoss",
    "Stretch",
    "Taken",
    "Task",
    "TaskMatrix",
    "find_learner",
    "make_buffer",
]


def __getattr__(name: str) -> typing.Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'milepost.learning' has no attribute '{name}'")
    return getattr(importlib.import_module(f"milepost.learning.{_PLACES[name]}"), name)
