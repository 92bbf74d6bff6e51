"""The JSON schema of the options, and how to find one's way in it.

The schema (draft 2020-12, https://json-schema.org/draft/2020-12) serves two readers: editors, which complete
and check ``options.yaml`` with it, and the report of mistakes, which takes from it what was expected where.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from milepost.options.model import OptionsModel

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(model: type[OptionsModel]) -> dict[str, Any]:
    """Return the JSON schema of an options file, with each unit at the end of its description.

    Where a section may be given as a text (`short_form` of a field names the key that it is the value of), the schema
    allows one.
    """
    schema = model.model_json_schema(by_alias=True, mode="validation")
    for node in _nodes(schema):
        if isinstance(node.get("unit"), str):
            node["description"] = f"{node.get('description', '')} [{node['unit']}]".strip()
        if isinstance(node.get("short_form"), str):
            forms = node.pop("anyOf", None) or [{"$ref": node.pop("$ref")}]
            node["anyOf"] = [*forms, {"type": "string"}]
    return {"$schema": _DIALECT, **schema}


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    """List all mappings of a schema, each before those in it."""
    inner: list[Any] = []
    if isinstance(node, dict):
        yield cast(dict[str, Any], node)
        inner = [*cast(dict[str, Any], node).values()]
    elif isinstance(node, list):
        inner = cast(list[Any], node)
    for each in inner:
        yield from _nodes(each)


@functools.cache  # generating it takes a tenth of a second, and a run that goes on asks several times
def _generated(model: type[OptionsModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True, mode="validation")


class Schema:
    """One place in a JSON schema, references followed."""

    def __init__(self, node: Any, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self.node: dict[str, Any] = self._follow(cast(dict[str, Any], node) if isinstance(node, dict) else {})

    @classmethod
    def of(cls, model: type[OptionsModel]) -> "Schema":
        """Start at the root of a model's schema."""
        schema = _generated(model)
        return cls(schema, schema.get("$defs", {}))

    def _follow(self, node: dict[str, Any]) -> dict[str, Any]:
        # Keys beside a reference describe this use of it, so that they win over those of the definition.
        while "$ref" in node:
            own = {key: value for key, value in node.items() if key != "$ref"}
            node = {**self._definitions[str(node["$ref"]).rpartition("/")[2]], **own}
        return node

    def _at(self, node: Any) -> "Schema":
        return Schema(node, self._definitions)

    @property
    def members(self) -> list["Schema"]:
        """The alternatives of a union, null included; a single element where there is no choice."""
        choices: list[Any] = self.node.get("anyOf") or self.node.get("oneOf") or []
        return [member for choice in choices for member in self._at(choice).members] or [self]

    @property
    def choices(self) -> list["Schema"]:
        """The alternatives but null."""
        return [member for member in self.members if member.node.get("type") != "null"]

    @property
    def selector(self) -> dict[str, Any]:
        """The key that tells the alternatives apart, as OpenAPI's discriminator object; empty for none."""
        for node in [self.node, *self.node.get("anyOf", [])]:
            if "discriminator" in node:
                return node["discriminator"]
        return {}

    @property
    def properties(self) -> dict[str, "Schema"]:
        """The keys of a section, or of every section that may stand here."""
        found: dict[str, Schema] = {}
        for member in self.members:
            for key, node in member.node.get("properties", {}).items():
                found.setdefault(key, self._at(node))
        return found

    def child(self, part: str | int) -> "Schema":
        """Go to a key or an item; a place that allows anything where the schema does not say."""
        for member in self.members:
            node = member.node
            inner: Any = None
            if isinstance(part, str):
                inner = node.get("properties", {}).get(part) or node.get("additionalProperties")
            elif part < len(node.get("prefixItems", [])):
                inner = node["prefixItems"][part]
            else:
                inner = node.get("items")
            if isinstance(inner, dict):
                return self._at(cast(dict[str, Any], inner))
        return self._at({})

    def at(self, path: Sequence[str | int]) -> "Schema":
        """Go down a whole path."""
        place = self
        for part in path:
            place = place.child(part)
        return place

    @property
    def title(self) -> str:
        """The name that Python has for this type: ``int``, ``TrainingOptions``, ``list[int]``."""
        kind = str(self.node.get("type"))
        if kind == "array":
            return f"list[{self.child(0).title}]"
        names = {"integer": "int", "number": "float", "string": "str", "boolean": "bool"}
        return names.get(kind) or str(self.node.get("title", kind))

    def admits(self, value: object) -> bool:
        """Say whether a type or a list of values names this one; bounds are not looked at."""
        for member in self.members:
            if isinstance(value, bool) and member.node.get("type") == "boolean":
                return True
            if any(listed is value for listed in member.node.get("enum", [member.node.get("const")])):
                return True
        return False

    def everything_below(self, depth: int = 8) -> Iterator[tuple[str, ...]]:
        """Yield the path of every key of the sections here and below."""
        for key, inner in self.properties.items() if depth else ():
            yield (key,)
            yield from ((key, *rest) for rest in inner.everything_below(depth - 1))
