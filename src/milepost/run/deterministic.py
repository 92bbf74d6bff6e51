"""Have torch compute the same bits every time: what a resumed run needs of every operation in its step.

On a processor with several threads torch adds what falls into one place (the gradient of `x[index]`, say) in the order
in which the threads come by, which differs from run to run, unless it is told not to. On an accelerator some operations
have no other way; torch warns of each.

Promise: on a processor an operation computes the same bits every time or raises torch's error, which names it. What was
set before is set again afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

_MEMORY: Any = torch.utils.deterministic  # a module with a property, which no type checker expects


@contextmanager
def same_bits_every_time(device: torch.device) -> Iterator[None]:
    """Choose operations that compute the same bits every time.

    Torch would also fill new memory with NaN meanwhile, to find who reads what nobody wrote: that is left out, it takes
    time and nothing is the better for it.
    """
    # Not `use_deterministic_algorithms`, which does the same and imports the compiler's settings, and so the compiler.
    mode, fill = torch.get_deterministic_debug_mode(), _MEMORY.fill_uninitialized_memory
    _MEMORY.fill_uninitialized_memory = False
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "warn")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        _MEMORY.fill_uninitialized_memory = fill
