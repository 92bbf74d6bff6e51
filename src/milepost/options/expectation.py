"""Say in plain words what was expected and what was found."""

import difflib
from collections.abc import Iterable
from typing import Any

from milepost.options.schema import Schema

_PLURALS = {
    "an integer": "integers",
    "a number": "numbers",
    "a text": "texts",
    "a path": "paths",
    "a section": "sections",
    "a list": "lists",
}
_BOUNDS = {
    "exclusiveMinimum": ">",
    "minimum": "≥",
    "exclusiveMaximum": "<",
    "maximum": "≤",
    "multipleOf": "divisible by",
}
_LONGEST_FOUND = 60
_MOST_KEYS = 8


def expected(schema: Schema, unit: str = "") -> str:
    """Describe what may stand at a place: ``a number > 0 [Å]``, ``'min' or 'max'``, ``a path or null``."""
    node = schema.node
    if isinstance(node.get("expected"), str):
        return node["expected"]
    unit = node.get("unit", unit)
    if len(schema.members) > 1:
        return either(dict.fromkeys(expected(member, unit) for member in schema.members))
    if "const" in node or "enum" in node:
        return either(found(value) for value in node.get("enum", [node.get("const")]))
    kind = node.get("type")
    if kind in ("integer", "number"):
        noun = "an integer" if kind == "integer" else "a number"
        return noun + _bounds(node) + (f" [{unit}]" if unit else "")
    if kind == "string":
        return _text(node)
    if kind == "array":
        return _list(schema, unit)
    if kind == "object":
        return _section(schema)
    return {"boolean": "true or false", "null": "null"}.get(str(kind), "a value")


def _bounds(node: dict[str, Any]) -> str:
    bounds = [f"{word} {_number(node[key])}" for key, word in _BOUNDS.items() if key in node]
    return " " + " and ".join(bounds) if bounds else ""


def _number(value: float) -> str:
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


def _text(node: dict[str, Any]) -> str:
    if "path" in str(node.get("format")):
        return "a path"
    if "pattern" in node:
        return f"a text that matches {node['pattern']}"
    if node.get("minLength") == 1 and "maxLength" not in node:
        return "a text that is not empty"
    return "a text" + _length(node, "Length", "characters")


def _length(node: dict[str, Any], what: str, things: str) -> str:
    least, most = node.get(f"min{what}", 0), node.get(f"max{what}")
    if most is None:
        return f" of at least {least} {things}" if least else ""
    return f" of {least} {things}" if least == most else f" of {least} to {most} {things}"


def _list(schema: Schema, unit: str) -> str:
    places = schema.node.get("prefixItems", [])
    kinds = {expected(schema.child(index), unit) for index in range(len(places) or 1)}
    if len(kinds) > 1:
        return f"a list of {len(places)} items"
    (single,) = kinds
    for one, many in _PLURALS.items():
        if single.startswith(one):
            return f"a list{_length(schema.node, 'Items', many) or ' of ' + many}" + single.removeprefix(one)
    extent = _length(schema.node, "Items", "items")
    return f"a list{extent}" + (f", each {single}" if single != "a value" else "")


def _section(schema: Schema) -> str:
    keys = list(schema.properties)
    if not keys:
        return "a section"
    shown = ", ".join(keys[:_MOST_KEYS]) + (", …" if len(keys) > _MOST_KEYS else "")
    return f"a section ({shown})"


def found(value: object) -> str:
    """Show a value as it would be written in YAML; sections and long lists by their size only."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_FOUND else value[: _LONGEST_FOUND - 1] + "…")
    if isinstance(value, dict):
        return "a section" if value else "an empty section"
    if isinstance(value, (list, tuple)):
        items: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        text = "[" + ", ".join(found(item) for item in items) + "]" if len(items) < _LONGEST_FOUND else ""
        return text if text and len(text) <= _LONGEST_FOUND else f"a list of {len(items)} items"
    return str(value)


def advice(schema: Schema, value: object) -> str:
    """Return what to write instead, to be put after what was found; nothing where that can't be guessed."""
    nodes = [member.node for member in schema.members]
    kinds = {node.get("type") for node in nodes}
    if isinstance(value, str):
        if kinds & {"integer", "number"} and _is_number(value):
            return "; remove the quotes"
        return did_you_mean(value, (word for node in nodes for word in _words(node)))
    if isinstance(value, float) and "integer" in kinds and value.is_integer():
        return f"; write {int(value)}"
    if isinstance(value, (bool, int, float)) and kinds <= {"string", "null"} and not any(map(_words, nodes)):
        return "; quote it if it is text"
    return ""


def _words(node: dict[str, Any]) -> list[str]:
    words = node.get("enum") or node.get("examples") or [node.get("const")]
    return [word for word in words if isinstance(word, str)]


def did_you_mean(word: str, known: Iterable[str], nearness: float = 0.6) -> str:
    """Return a question after the nearest known word; nothing where none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=nearness)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


def either(phrases: Iterable[str]) -> str:
    """Join alternatives: ``a, b or c``."""
    *first, last = phrases
    return f"{', '.join(first)} or {last}" if first else last


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
