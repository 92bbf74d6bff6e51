"""Read many tensors of an open archive, several at a time.

Promise: the tensors are those that reading one after the other gives; no more threads than torch may use.
Failure: what reading one of them raises; the rest are given up.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from milepost.archive.tensorfile import StoredTensor
from milepost.archive.tensors import from_stored

# Below this, starting threads takes longer than reading and hashing in this one.
_THREADS_PAY_FROM = 8 * 2**20


def fetch(
    stored: Sequence[StoredTensor],
    notes: Mapping[str, str | None],
    fill: Callable[[StoredTensor, memoryview], None],
    device: torch.device | str,
) -> dict[str, torch.Tensor]:
    """Return the tensors by name, on `device`.

    `fill` reads the bytes of one into host memory; `notes` are the dtypes noted beside the names.
    """

    def load(place: StoredTensor) -> torch.Tensor:
        return from_stored(place, notes[place.name], lambda buffer: fill(place, buffer)).to(device)

    threads = min(torch.get_num_threads(), len(stored))
    if threads < 2 or sum(place.end - place.begin for place in stored) < _THREADS_PAY_FROM:
        return {place.name: load(place) for place in stored}
    with ThreadPoolExecutor(threads, thread_name_prefix="milepost-reader") as pool:
        return dict(zip([place.name for place in stored], pool.map(load, stored), strict=True))
