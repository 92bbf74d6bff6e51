"""What a result may depend on besides its options: versions, device, threads. No host, user or path."""

import functools
import importlib.metadata
import platform
from typing import Any

import numpy as np
import torch


def environment(device: torch.device | str = "cpu", precision: int | str | None = None) -> dict[str, Any]:
    """Describe the versions and the machine that compute on `device`, for the manifest."""
    device = torch.device(device)
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": str(np.__version__),
        "milepost": milepost_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device.type,
        "device_name": _device_name(device),
        "threads": torch.get_num_threads(),
        "precision": None if precision is None else str(precision),
    }


@functools.cache  # looking it up takes a millisecond, and each save asks
def milepost_version() -> str:
    """Return the installed version, or the source tree's where nothing is installed."""
    try:
        return importlib.metadata.version("milepost")
    except importlib.metadata.PackageNotFoundError:
        import milepost

        return str(milepost.__version__)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
