"""Print text that files supplied: names, metadata and messages from anywhere.

Promise: no character of it moves the cursor, changes colors, turns the direction of writing or cannot be encoded; each
such character is written by its number, as JSON does.
"""

import unicodedata

import click

_HIDDEN = ("Cc", "Cf", "Cs")
"""Control characters, format characters as those of direction, and halves of surrogate pairs (Unicode, chapter 4.5)."""


def say(text: str, *, err: bool = False) -> None:
    """Print lines of text, to standard error with `err`."""
    click.echo("\n".join(map(visible, text.split("\n"))), err=err)


def visible(line: str) -> str:
    """Return a line in which no character is hidden."""
    return line if line.isprintable() else "".join(map(_shown, line))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
