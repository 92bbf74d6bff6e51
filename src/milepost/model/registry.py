"""Find installed architectures by their entry points in the group `milepost.architectures`.

Any installed package can add one. Finding a name imports only that architecture; listing imports all of them.
"""

import difflib
from importlib.metadata import EntryPoint, entry_points

from milepost.errors import UnknownArchitectureError
from milepost.model.architecture import Architecture

GROUP = "milepost.architectures"


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def find_architecture(name: str) -> Architecture:
    """Return the architecture of this name.

    Raises UnknownArchitectureError listing what is installed, with the nearest name.
    """
    points = _points()
    if name not in points:
        near = difflib.get_close_matches(name, points, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else " Install the package that brings it."
        raise UnknownArchitectureError(
            f"no architecture '{name}' is installed: expected one of {', '.join(sorted(points)) or 'none'}.{hint}"
        )
    return _loaded(points[name])


def architectures() -> list[Architecture]:
    """List all installed architectures by name."""
    return [_loaded(point) for _, point in sorted(_points().items())]


def _loaded(point: EntryPoint) -> Architecture:
    found = point.load()
    if not isinstance(found, Architecture):
        raise UnknownArchitectureError(
            f"the entry point '{point.name}' of group '{GROUP}' can't be used: expected an Architecture at "
            f"'{point.value}', found {type(found).__name__}. Correct or remove the package that declares it."
        )
    return found
