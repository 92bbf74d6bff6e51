"""A run: its directory, its loop, its state, and how it is continued."""

from milepost.run.domain import Ancestor, DataSet, Domain, Prepared
from milepost.run.progress import Reporter
from milepost.run.trained import Trained, open_trained
from milepost.run.training import Request, Result, train

__all__ = [
    "Ancestor",
    "DataSet",
    "Domain",
    "Prepared",
    "Reporter",
    "Request",
    "Result",
    "Trained",
    "open_trained",
    "train",
]
