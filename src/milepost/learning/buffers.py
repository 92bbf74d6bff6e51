"""Buffers by the name of their kind: what a learner asks for.

| kind | keeps |
|---|---|
| `reservoir` | a uniform sample of all that was seen |
| `ring` | the newest of every label; with `parts`, the same number of slots for each of so many labels |
| `balanced` | a uniform sample of every label, as many of each as come |
| `greedy` | as many of every label, whichever come first |
"""

from collections.abc import Mapping

import torch

from milepost.learning.keeping import Buffer, Reservoir
from milepost.learning.keeping_by_label import Balanced, Greedy, LabeledBuffer, Ring

__all__ = ["KINDS", "Balanced", "Buffer", "Greedy", "LabeledBuffer", "Reservoir", "Ring", "make_buffer"]

KINDS: Mapping[str, type[Buffer]] = {kind.kind: kind for kind in (Reservoir, Ring, Balanced, Greedy)}


def make_buffer(
    kind: str, capacity: int, seed: int, device: torch.device | None = None, *, parts: int | None = None
) -> Buffer:
    """Make an empty buffer; `parts` are those of a ring.

    Raises ValueError where there is no such kind, or no such number of parts.
    """
    if kind not in KINDS:
        raise ValueError(f"could not make a buffer: expected one of {', '.join(KINDS)}, found '{kind}'.")
    if parts is None:
        return KINDS[kind](capacity, seed, device)
    if KINDS[kind] is not Ring:
        raise ValueError(
            f"could not make a buffer of {parts} parts: expected the kind '{Ring.kind}', found '{kind}'. "
            "Leave `parts` away."
        )
    return Ring(capacity, seed, device, parts=parts)
