"""A run: its directory, its loop, its state, and how it is continued.

The names below are imported when they are first used, so that looking at runs (`milepost.run.index`) needs no torch.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from milepost.run.domain import Ancestor, Domain, Prepared
    from milepost.run.progress import Reporter
    from milepost.run.trained import Trained, open_trained
    from milepost.run.training import Request, Result, train

_PLACES = {
    "Ancestor": "domain",
    "Domain": "domain",
    "Prepared": "domain",
    "Reporter": "progress",
    "Request": "training",
    "Result": "training",
    "Trained": "trained",
    "open_trained": "trained",
    "train": "training",
}

__all__ = [
    "Ancestor",
    "Domain",
    "Prepared",
    "Reporter",
    "Request",
    "Result",
    "Trained",
    "open_trained",
    "train",
]


def __getattr__(name: str) -> typing.Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'milepost.run' has no attribute '{name}'")
    return getattr(importlib.import_module(f"milepost.run.{_PLACES[name]}"), name)
