"""The Lightning that this process uses: `lightning` and `pytorch_lightning` are two copies of one code.

Promise: the copy that is imported already is taken, else the one that is installed; never both.
Failure: MissingDependencyError where neither is installed.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from milepost.errors import MissingDependencyError

# The Trainer's package, and the package of its plug-ins.
_COPIES = (("lightning.pytorch", "lightning.fabric"), ("pytorch_lightning", "lightning_fabric"))


def _chosen() -> tuple[str, str]:
    for copy in _COPIES:
        if copy[0] in sys.modules:
            return copy
    for copy in _COPIES:
        if importlib.util.find_spec(copy[0].partition(".")[0]) is not None:
            return copy
    raise MissingDependencyError(
        "could not import milepost.lightning: expected the package 'lightning' or 'pytorch_lightning', found neither. "
        "Install one of them: pip install 'milepost[lightning]'."
    )


TRAINER, FABRIC = _chosen()

if TYPE_CHECKING:
    from lightning.fabric.plugins import CheckpointIO
    from lightning.pytorch import Callback, Trainer
else:
    CheckpointIO = importlib.import_module(f"{FABRIC}.plugins").CheckpointIO
    Callback = importlib.import_module(TRAINER).Callback
    Trainer = importlib.import_module(TRAINER).Trainer


def attribute_dict(values: dict[str, Any]) -> dict[str, Any]:
    """Build Lightning's `AttributeDict`, the dict of hyper-parameters whose keys are also attributes."""
    return importlib.import_module(f"{FABRIC}.utilities.data").AttributeDict(values)


def version() -> str:
    """Return the version of the Lightning that is used."""
    return str(importlib.import_module(TRAINER).__version__)


def welcome(plugin: type[Any]) -> None:
    """Make a plug-in one for every copy of Lightning that is imported by now, also for the one not chosen here."""
    for _, fabric in _COPIES:
        plugins = sys.modules.get(f"{fabric}.plugins")
        if plugins is not None:
            plugins.CheckpointIO.register(plugin)
