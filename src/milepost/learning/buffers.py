"""Buffers by the name of their kind: what a learner asks for.

| kind | keeps |
|---|---|
| `reservoir` | a uniform sample of all that was seen |
| `ring` | the newest of every label |
| `balanced` | a uniform sample of every label, as many of each as come |
| `greedy` | as many of every label, whichever come first |
"""

from collections.abc import Mapping

import torch

from milepost.learning.keeping import Buffer, Reservoir
from milepost.learning.keeping_by_label import Balanced, Greedy, LabeledBuffer, Ring

__all__ = ["KINDS", "Balanced", "Buffer", "Greedy", "LabeledBuffer", "Reservoir", "Ring", "make_buffer"]

KINDS: Mapping[str, type[Buffer]] = {kind.kind: kind for kind in (Reservoir, Ring, Balanced, Greedy)}


def make_buffer(kind: str, capacity: int, seed: int, device: torch.device | None = None) -> Buffer:
    """Make an empty buffer; raises ValueError where there is no such kind."""
    if kind not in KINDS:
        raise ValueError(f"could not make a buffer: expected one of {', '.join(KINDS)}, found '{kind}'.")
    return KINDS[kind](capacity, seed, device)
