"""Options on their way from text to an object: the data, where each value was given, what is wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from milepost.options.mistakes import Mistake, Origin, Origins, Path, dotted
from milepost.options.model import JSON

DEEPEST = 50
"""Most levels of nesting, in files and in overrides."""


class DocumentError(Exception):
    """Report why a text is no YAML document; ``line`` counts from 1, 0 is the text as a whole."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line


@dataclass(slots=True)
class Draft:
    """Hold what has been read so far; every step adds its mistakes instead of stopping at the first one."""

    name: str
    """Name of the file, for the head of the report."""
    data: dict[str, JSON]
    origins: Origins
    mistakes: list[Mistake] = field(default_factory=list[Mistake])
    blamed: list[Path] = field(default_factory=list[Path])
    """Where the mistakes are that belong to a value."""
    broken: set[Path] = field(default_factory=set[Path])
    """Values that are known to be wrong: later steps say nothing more about them."""
    readable: bool = True
    """False when the file gave no data at all, so that looking for missing keys makes no sense."""

    def blame(self, path: Path, text: str, origin: Origin | None = None) -> None:
        """Add a mistake about the value at this path, unless it or one around it is known to be wrong."""
        if not any(path[:length] in self.broken for length in range(len(path) + 1)):
            self.mistakes.append(Mistake(origin or self.origins[path], dotted(path), text))
            self.blamed.append(path)

    def give_up(self, path: Path, text: str) -> None:
        """Add a mistake about the value at this path, and nothing more about it from now on."""
        self.blame(path, text)
        self.broken.add(path)

    def refuse(self, origin: Origin, text: str) -> None:
        """Add a mistake about the file as a whole or about one override as a whole."""
        self.mistakes.append(Mistake(origin, "", text))


def leaves(value: JSON, path: Path = ()) -> Iterator[tuple[Path, JSON]]:
    """Yield every value that is neither a mapping nor a list, with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


def value_at(data: JSON, path: Sequence[str | int]) -> JSON:
    """Return the value at a path; LookupError if there is none."""
    for part in path:
        if isinstance(data, dict):
            data = data[str(part)]
        elif isinstance(data, list):
            data = data[int(part)] if str(part).isdecimal() else data[len(data)]
        else:
            raise LookupError(part)
    return data


def replace_value(data: JSON, path: Path, value: JSON) -> None:
    """Put another value at a path that exists."""
    parent = value_at(data, path[:-1])
    if isinstance(parent, dict):
        parent[str(path[-1])] = value
    elif isinstance(parent, list):
        parent[int(path[-1])] = value


def is_unicode(text: str) -> bool:
    """Say whether a text is free of surrogates, which stand for undecodable bytes and can't be encoded."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
