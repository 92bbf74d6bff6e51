"""The architecture contract: what an architecture must bring, and how installed ones are found."""

from milepost.model.architecture import Architecture, Component, Upgrade
from milepost.model.registry import architectures, find_architecture
from milepost.model.source import captured_source, source_digest

__all__ = [
    "Architecture",
    "Component",
    "Upgrade",
    "architectures",
    "captured_source",
    "find_architecture",
    "source_digest",
]
