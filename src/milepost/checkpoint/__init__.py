"""Training state ↔ files: save, load, list, retire.

Promise: everything in a checkpoint is restored or named; at every instant a verified checkpoint of a run
exists once one was saved. Needs torch, numpy and the archive. Files hold no pickle and run no code.
"""

from milepost.checkpoint.background import BackgroundSaver
from milepost.checkpoint.catalogue import (
    CatalogueEntry,
    checkpoint_name,
    describe_checkpoint,
    list_checkpoints,
    mark_latest,
    newest_verified,
)
from milepost.checkpoint.environment import environment
from milepost.checkpoint.lineage import Segment
from milepost.checkpoint.loading import Checkpoint, load_checkpoint, module_mismatches
from milepost.checkpoint.policies import (
    EachTask,
    EveryEpochs,
    EveryMinutes,
    EverySteps,
    KeepBest,
    KeepLast,
    KeepPolicy,
    KeepTasks,
    OnSignal,
    Progress,
    SavePolicy,
    all_kept,
    any_due,
    ranked,
)
from milepost.checkpoint.randomness import RandomState
from milepost.checkpoint.record import CheckpointRecord
from milepost.checkpoint.retention import discard_drafts, retire
from milepost.checkpoint.saving import save_checkpoint
from milepost.checkpoint.stateful import Stateful
from milepost.checkpoint.weights import load_weights

__all__ = [
    "BackgroundSaver",
    "CatalogueEntry",
    "Checkpoint",
    "CheckpointRecord",
    "EachTask",
    "EveryEpochs",
    "EveryMinutes",
    "EverySteps",
    "KeepBest",
    "KeepLast",
    "KeepPolicy",
    "KeepTasks",
    "OnSignal",
    "Progress",
    "RandomState",
    "SavePolicy",
    "Segment",
    "Stateful",
    "all_kept",
    "any_due",
    "checkpoint_name",
    "describe_checkpoint",
    "discard_drafts",
    "environment",
    "list_checkpoints",
    "load_checkpoint",
    "load_weights",
    "mark_latest",
    "module_mismatches",
    "newest_verified",
    "ranked",
    "retire",
    "save_checkpoint",
]
