"""Say on which device a file's model is run, and refuse one that is not there or that it was not made for."""

from pathlib import Path

import torch

from milepost.errors import ExportError


def usable_device(name: str, path: Path) -> torch.device:
    """Return the device of this name. Raises ExportError where there is none on this machine."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ExportError(
            f"could not use '{path}': expected a device that torch knows, as cpu or cuda, found '{name}'. "
            "Correct the name."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ExportError(
            f"could not use '{path}' on '{name}': expected a CUDA device on this machine, found none. Use the cpu."
        )
    return device


def device_of_package(path: Path, made_for: str, asked: str | None) -> torch.device:
    """Return the device to run a compiled program on: the kind that it was `made_for`.

    Raises ExportError where another is asked for, or this machine has none of the kind.
    """
    target = torch.device(asked or made_for)
    if target.type != torch.device(made_for).type:
        raise ExportError(
            f"could not run '{path}': expected the device '{made_for}' that it was compiled for, "
            f"found '{target}'. "
            f"Export the checkpoint again with --device {target.type}."
        )
    usable_device(made_for, path)
    return target
