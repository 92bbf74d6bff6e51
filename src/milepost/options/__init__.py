"""Options: YAML and overrides in, frozen and validated objects out, every mistake in one report.

Read with ``load_options``; declare sections by deriving from ``OptionsModel``; write with ``expanded_yaml``.
Nothing here knows what is trained, and nothing imports torch.
"""

from milepost.options.checking import Objection
from milepost.options.composition import compose_options, limit_architectures, limit_learners, with_learner
from milepost.options.differences import ABSENT, Difference, differences
from milepost.options.expanded import expanded_yaml
from milepost.options.loading import find_value, load_options
from milepost.options.model import OptionsModel
from milepost.options.schema import json_schema
from milepost.options.sections import (
    ArchitectureOptions,
    CheckpointsOptions,
    CourseOptions,
    EarlyStoppingOptions,
    FinetuneOptions,
    LearnerSection,
    OptimizerOptions,
    RootOptions,
    ScheduleOptions,
    TrainingOptions,
)

__all__ = [
    "ABSENT",
    "ArchitectureOptions",
    "CheckpointsOptions",
    "CourseOptions",
    "Difference",
    "EarlyStoppingOptions",
    "FinetuneOptions",
    "LearnerSection",
    "Objection",
    "OptimizerOptions",
    "OptionsModel",
    "RootOptions",
    "ScheduleOptions",
    "TrainingOptions",
    "compose_options",
    "differences",
    "expanded_yaml",
    "find_value",
    "json_schema",
    "limit_architectures",
    "limit_learners",
    "load_options",
    "with_learner",
]
