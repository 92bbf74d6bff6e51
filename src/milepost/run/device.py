"""Choose the device that a run computes on.

Promise: the device that is named, or the machine's accelerator for "auto", or the processor where there is none. A
device that is not there is an error, never a silent step down: a run that was meant for a GPU would take days.
"""

from collections.abc import Iterator

import torch

from milepost.errors import DeviceError
from milepost.options import Objection
from milepost.options.expectation import did_you_mean


def choose_device(name: str) -> torch.device:
    """Return the device of a name: "auto", or any that torch knows, with its number where it has one.

    Raises DeviceError where this machine has no such device.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return torch.device("cpu") if found is None else _numbered(found)
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return torch.device(name)
    count = _count(kind)
    if int(number or 0) >= count:
        there = f"{count} of that kind" if count else "none of that kind"
        raise DeviceError(
            f"could not train on the device '{name}': expected one on this machine, found {there}. "
            "Set `device: auto` (or -r device=auto) to take what there is."
        )
    return _numbered(torch.device(name))


def device_objections(name: str) -> Iterator[Objection]:
    """Say that this machine lacks a device, before anything is computed on it; `device` is its key."""
    try:
        choose_device(name)
    except DeviceError:
        there = ["cpu", *_numbered_names()]
        wanted = f"expected 'auto' or a device of this machine ({', '.join(there)})"
        yield Objection("device", f"{wanted}, found '{name}'{did_you_mean(name, there)}")


def _numbered_names() -> list[str]:
    found = torch.accelerator.current_accelerator(check_available=True)
    return [] if found is None else [f"{found.type}:{i}" for i in range(torch.accelerator.device_count())]


def _count(kind: str) -> int:
    """Count this machine's devices of a kind: torch serves one kind of accelerator at a time."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.accelerator.device_count() if found is not None and found.type == kind else 0


def _numbered(device: torch.device) -> torch.device:
    return device if device.index is not None else torch.device(device.type, 0)
