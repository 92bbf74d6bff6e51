"""A mistake in the options, where it was made, and the report that lists all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from milepost.errors import OptionsError

Path = tuple[str | int, ...]
"""The keys and list indices that lead from the root of the options to a value."""

LONGEST_LABEL = 48


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """Say where a value was given: a line of the file, or an override."""

    rank: int
    """0 for the file, n for the nth override: mistakes are listed in this order, then by line."""
    line: int
    """Line of the file, counted from 1; 0 where no line applies."""
    name: str
    """Name of the file, or the override."""
    typed: str = ""
    """The override as it was typed, where that was not ``-r KEY=VALUE``."""

    @property
    def label(self) -> str:
        """The first column of the report."""
        if self.rank:
            text = " ".join((self.typed or f"-r {self.name}").split())
            return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong, with its place and its dotted key (empty for the whole file)."""

    origin: Origin
    key: str
    text: str


class Origins:
    """Remember where each value was given; a value that was not given belongs to the section around it."""

    def __init__(self, whole: Origin) -> None:
        self._known: dict[Path, Origin] = {(): whole}

    def __getitem__(self, path: Path) -> Origin:
        while path not in self._known:
            path = path[:-1]
        return self._known[path]

    def record(self, path: Path, origin: Origin) -> None:
        """Say that the value at this path was given there."""
        self._known[path] = origin

    def replace(self, path: Path, origin: Origin) -> None:
        """Say that the value at this path and all inside it was given there, whatever was said before."""
        kept = {known: place for known, place in self._known.items() if known[: len(path)] != path}
        self._known = {**kept, path: origin}


def dotted(path: Path) -> str:
    """Write a path as the key of an override: ``training_set.0.read_from``."""
    return ".".join(str(part) for part in path)


def report(name: str, mistakes: Sequence[Mistake]) -> OptionsError:
    """Make the error that lists every mistake, in the order of the file and then of the overrides."""
    ordered = sorted(mistakes, key=lambda mistake: mistake.origin)
    width = max(len(mistake.origin.label) for mistake in ordered)
    lines = [f"{name} can't be used: {len(ordered)} mistake{'s' if len(ordered) > 1 else ''}."]
    for mistake in ordered:
        key = f"{mistake.key}: " if mistake.key else ""
        lines.append(f"  {mistake.origin.label:<{width}}  {key}{mistake.text}")
    what = "them" if len(ordered) > 1 else "it"
    lines.append(f"Correct {what} and run the command again; `milepost options schema` prints every key.")
    # Names of files and overrides may hold bytes that can't be printed.
    return OptionsError("\n".join(lines).encode(errors="backslashreplace").decode())
