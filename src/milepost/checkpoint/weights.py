"""Checkpoint → weights alone, for a module that goes its own way.

Promise: the module takes every tensor of its name, verified, or nothing is changed.
Failure: StateMismatchError listing everything that does not fit; the ArchiveError family.
"""

from pathlib import Path
from typing import Any, cast

from torch import nn

from milepost.checkpoint.loading import load_checkpoint, module_mismatches
from milepost.checkpoint.record import CheckpointRecord
from milepost.errors import StateMismatchError


def load_weights(path: Path | str, module: nn.Module, *, component: str = "model") -> CheckpointRecord:
    """Load one component of a checkpoint into `module` and nothing else; return the checkpoint's record.

    Names, shapes and dtypes must be the module's. The module stays on its device.

    Raises StateMismatchError, before anything is changed, and ArchiveError where there is no such component.
    """
    with load_checkpoint(path) as checkpoint:
        state = checkpoint.state(component)
        record = checkpoint.record
    problems = module_mismatches(module, state)
    if problems:
        raise StateMismatchError(
            f"could not load the weights of '{path}' into {type(module).__name__}:\n  " + "\n  ".join(problems)
            + "\nBuild the module as it was built for the checkpoint, or name another component."
        )  # fmt: skip
    module.load_state_dict(cast(dict[str, Any], state))
    return record
