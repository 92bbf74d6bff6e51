"""What an attack file is, and the ways in which most of them are made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacks.assembly import name, program, text, torch_zip

Make = Callable[[Path, Path], None]
SYSTEM = name("posix", "system")


@dataclass(frozen=True)
class Attack:
    """One file: `make(path, marker)` writes it; `marker` is what it would create if it were run."""

    name: str
    story: str
    make: Make
    error: str = ""
    suspicious: tuple[str, ...] = ()
    tree: Any = None


def pickled(*parts: bytes) -> Make:
    """Make a file of `torch.save` around a pickle."""
    return lambda path, marker: torch_zip(path, program(*parts))


def bare(data: bytes) -> Make:
    """Make a file of these bytes."""
    return lambda path, marker: void(path.write_bytes(data))


def void(value: object) -> None:
    """Drop a result."""


def command(marker: Path) -> bytes:
    """Push the argument of the shell."""
    return text(f"touch {marker}")


def shell(build: Callable[[bytes], bytes]) -> Make:
    """Make a file of `torch.save` whose pickle is built around a shell command."""
    return lambda path, marker: torch_zip(path, program(build(command(marker))))
