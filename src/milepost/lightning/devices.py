"""Where `map_location`, as `torch.load` takes it, puts tensors that were saved from host memory."""

from collections.abc import Mapping
from typing import Any

import torch

_SAVED_FROM = "cpu"  # every tensor in an archive is a copy in host memory


def device_of(map_location: Any) -> torch.device:
    """Return the device that a map_location gives: None, a device or its name, a dict, or a function.

    A function is asked as torch asks it, with an empty storage and the place "cpu", and what it returns is where
    tensors go. Raises TypeError for anything else.
    """
    if map_location is None:
        return torch.device(_SAVED_FROM)
    if isinstance(map_location, str | torch.device):
        return torch.device(map_location)
    if isinstance(map_location, Mapping):
        return torch.device(map_location.get(_SAVED_FROM, _SAVED_FROM))
    if callable(map_location):
        storage: Any = map_location(torch.UntypedStorage(0, device=_SAVED_FROM), _SAVED_FROM)
        return torch.device(_SAVED_FROM if storage is None else storage.device)
    raise TypeError(
        "could not place the tensors of a checkpoint: expected a map_location of a device, its name, a dict or a "
        f"function, found {map_location!r}"
    )
