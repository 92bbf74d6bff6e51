"""What a result may depend on besides its options: versions, device, threads. No host, user or path."""

import functools
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch


def environment(device: torch.device | str = "cpu", precision: int | str | None = None) -> dict[str, Any]:
    """Describe the versions and the machine that compute on `device`, for the manifest."""
    device = torch.device(device)
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda or "none"),
        "numpy": str(np.__version__),
        "milepost": milepost_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
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


@functools.cache
def processor() -> str:
    """Return the processor's type as its maker calls it, or its kind of instructions where the system does not tell.

    Libraries for linear algebra choose the order of their sums by it.
    """
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
