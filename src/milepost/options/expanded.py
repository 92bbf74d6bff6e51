"""Options → YAML with every default written out, to be read by people and by ``load_options`` alike."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, cast

from milepost.options.model import OptionsModel, plain_data
from milepost.options.scalars import write_key, write_scalar
from milepost.options.schema import Schema

WIDTH = 110
_INDENT = "  "


def expanded_yaml(options: OptionsModel) -> str:
    """Return YAML that ``load_options`` reads back as equal options; units and descriptions are comments."""
    data = plain_data(options)
    lines = _mapping(data, Schema.of(type(options)), "") if data else ["{}"]
    return "\n".join(lines) + "\n"


def _mapping(data: dict[str, Any], schema: Schema, indent: str) -> Iterator[str]:
    for key, value in data.items():
        place = schema.child(key)
        head = f"{indent}{write_key(key)}:"
        if _is_block(value):
            yield from _commented(head, place, indent)
            yield from _block(value, place, indent + _INDENT)
        elif isinstance(value, list) and len(head) + len(_flow(value)) > WIDTH:
            yield from _commented(f"{head} [", place, indent)
            yield from _wrapped(map(_flow, cast(list[Any], value)), indent + _INDENT)
        else:
            yield from _commented(f"{head} {_flow(value)}", place, indent)


def _block(value: Any, schema: Schema, indent: str) -> Iterator[str]:
    """Write a section, or a list that contains sections, one line or more for each element."""
    if isinstance(value, dict):
        yield from _mapping(cast(dict[str, Any], value), schema, indent)
        return
    for index, item in enumerate(value):
        if not _is_block(item):
            yield f"{indent}- {_flow(item)}"
            continue
        first, *rest = _block(item, schema.child(index), indent + _INDENT)
        if first.lstrip().startswith("#"):
            yield from (f"{indent}-", first)
        else:
            yield f"{indent}- {first.lstrip()}"
        yield from rest


def _is_block(value: Any) -> bool:
    if isinstance(value, list):
        return any(_is_block(item) for item in cast(list[Any], value))
    return isinstance(value, dict) and bool(cast(dict[str, Any], value))


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, cast(list[Any], value)))}]"
    return write_scalar(value)


def _wrapped(words: Iterable[str], indent: str) -> Iterator[str]:
    """Write the items of a long list over several lines, and its closing bracket."""
    line = indent
    separator = ""
    for word in words:
        if len(line) + len(word) > WIDTH - 2 and separator:
            yield line + ","
            line, separator = indent, ""
        line += separator + word
        separator = ", "
    yield line + "]"


def _commented(line: str, place: Schema, indent: str) -> Iterator[str]:
    comment = _comment(place)
    if comment and len(line) + 2 + len(comment) > WIDTH:
        margin = f"{indent}# "
        yield from textwrap.wrap(comment[2:], WIDTH, initial_indent=margin, subsequent_indent=margin)
        yield line
    else:
        yield f"{line}  {comment}".rstrip()


def _comment(place: Schema) -> str:
    """Return the unit and the first sentence of the description."""
    units = dict.fromkeys(member.node["unit"] for member in [place, *place.members] if "unit" in member.node)
    unit = f"[{', '.join(units)}] " if units else ""
    sentence = re.split(r"\.(?:\s|$)|\n\n", str(place.node.get("description", "")), maxsplit=1)[0]
    text = " ".join(f"{unit}{sentence}".split())
    return f"# {text}" if text else ""
