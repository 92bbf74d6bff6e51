"""Capture the source of an architecture, so that a file says which code made it.

The source is a record to read and compare; opening a file never runs it.
"""

from importlib import import_module
from pathlib import Path

from blake3 import blake3

from milepost.model.architecture import Architecture


def captured_source(architecture: Architecture) -> dict[str, bytes]:
    """Read the modules beside the architecture's `build`: archive entry name → bytes."""
    module = import_module(architecture.build.module)
    folder = Path(str(module.__file__)).parent
    return {f"source/{folder.name}/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}


def source_digest(source: dict[str, bytes]) -> str:
    """Digest captured source by names and contents."""
    digest = blake3()
    for name, text in sorted(source.items()):
        digest.update(f"{name}\0{len(text)}\0".encode())
        digest.update(text)
    return f"blake3:{digest.hexdigest()}"
