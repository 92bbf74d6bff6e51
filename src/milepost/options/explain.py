"""pydantic's errors → mistakes that a person can act on."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from milepost.options.draft import Draft
from milepost.options.expectation import advice, did_you_mean, either, expected, found
from milepost.options.mistakes import Path, dotted
from milepost.options.schema import Schema

# Checks of pydantic's own, path_type beside the core's; the text of any other kind comes from a validator.
_OWN_KINDS = {*get_args(ErrorType), "path_type"}
# pydantic's name of a branch with validators: function-after[check(), function-before[prepare(), Section]]
_VALIDATOR = re.compile(r"function-\w+\[[^,]*, |\]+$")
_RULES = {"value_error", "assertion_error"}


class _Failure(NamedTuple):
    """One error of pydantic; ``rest`` is what is left of its location."""

    rest: tuple[str | int, ...]
    kind: str
    value: Any
    text: str
    """The reason that a validator gave; empty for pydantic's own checks."""

    def below(self) -> "_Failure":
        """Drop the first part of the location."""
        return self._replace(rest=self.rest[1:])


def explain(draft: Draft, error: ValidationError, schema: Schema) -> None:
    """Add a mistake to the draft for every error of pydantic's; ``schema`` is that of the whole options."""
    failures = [_failure(details) for details in error.errors(include_url=False)]
    for path, text in dict.fromkeys(_mistakes(failures, schema, (), schema)):
        draft.blame(path, text)


def _failure(details: ErrorDetails) -> _Failure:
    kind = details["type"]
    text = ""
    if kind in _RULES:
        text = str(details.get("ctx", {}).get("error", details["msg"]))
    elif kind not in _OWN_KINDS:
        text = details["msg"]
    place = details["loc"]
    if kind == "missing" and isinstance(place[-1], int):
        # A tuple lacks an item: it is the list that is too short, no key is missing.
        place, kind = place[:-1], "too_short"
    return _Failure(place, kind, details["input"], text)


def _mistakes(failures: Sequence[_Failure], schema: Schema, path: Path, root: Schema) -> Iterator[tuple[Path, str]]:
    """Follow the locations down the schema; where it branches, keep to the branch that was meant."""
    for failure in failures:
        if not failure.rest:
            yield _of_value(failure, schema, path)
    deeper = [failure for failure in failures if failure.rest]
    if deeper and len(schema.choices) > 1:
        yield from _of_union(deeper, schema, path, root)
        return
    for part, group in _by_first_part(deeper).items():
        below: list[_Failure] = []
        for failure in group:
            text = _of_key(failure, schema, path, root)
            if text:
                yield (*path, part), text
            else:
                below.append(failure.below())
        yield from _mistakes(below, schema.child(part), (*path, part), root)


def _by_first_part(failures: Sequence[_Failure]) -> dict[str | int, list[_Failure]]:
    groups: dict[str | int, list[_Failure]] = {}
    for failure in failures:
        groups.setdefault(failure.rest[0], []).append(failure)
    return groups


def _of_value(failure: _Failure, schema: Schema, path: Path) -> tuple[Path, str]:
    if failure.text:
        return path, failure.text
    selector = schema.selector
    if selector and failure.kind in ("union_tag_invalid", "union_tag_not_found"):
        name = selector["propertyName"]
        kinds = list(selector["mapping"])
        wanted = f"expected {either(found(kind) for kind in kinds)}"
        if failure.kind == "union_tag_not_found":
            return (*path, name), f"missing; {wanted}"
        value = failure.value[name]
        return (*path, name), f"{wanted}, found {found(value)}{did_you_mean(str(value), kinds)}"
    return path, f"expected {expected(schema)}, found {found(failure.value)}{advice(schema, failure.value)}"


def _of_key(failure: _Failure, schema: Schema, path: Path, root: Schema) -> str:
    """Say what is wrong with a key; nothing when the mistake is in its value."""
    key = str(failure.rest[0])
    if failure.rest[1:] == ("[key]",):
        kind = {"int": "an integer", "float": "a number"}.get(failure.kind.partition("_")[0], "another text")
        return failure.text or f"expected {kind} as the key, found {found(key)}"
    if len(failure.rest) > 1 or failure.kind not in ("missing", "extra_forbidden"):
        return ""
    if failure.kind == "missing":
        return f"missing; expected {expected(schema.child(key))}"
    return f"unknown key{_instead(path, key, schema, root)}"


def _instead(path: Path, key: str, schema: Schema, root: Schema) -> str:
    """Propose the key that was meant: one of the same section, or the same key of another section."""
    elsewhere = [known for known in root.everything_below() if known[-1] == key and known[:-1] != path]
    nearer = [known for known in elsewhere if known[: len(path)] == path]
    return (
        did_you_mean(key, schema.properties, nearness=0.8)
        or (f"; did you mean {found(dotted(min(nearer or elsewhere, key=len)))}?" if elsewhere else "")
        or did_you_mean(key, schema.properties)
        or f"; expected {'one of ' if len(schema.properties) > 1 else ''}{', '.join(schema.properties)}"
    )


def _of_union(failures: Sequence[_Failure], schema: Schema, path: Path, root: Schema) -> Iterator[tuple[Path, str]]:
    """Report one branch: pydantic gives the errors of every branch, each under a name of its own."""
    branches = _by_first_part(failures)
    meant = {
        name: branch
        for name, branch in branches.items()
        if any(len(failure.rest) > 1 or failure.text for failure in branch)
    }
    if not meant:
        yield _of_value(failures[0].below(), schema, path)
        return
    name = min(meant, key=lambda name: _distance(meant[name]))
    branch = [failure.below() for failure in meant[name]]
    yield from _mistakes(branch, _choice(schema, str(name), branch), path, root)


def _distance(branch: Sequence[_Failure]) -> tuple[int, int]:
    """Rank a branch by how much the value differs: in an item's kind or a fixed word, then in details."""
    other = sum(
        failure.kind in ("literal_error", "enum")
        or (failure.kind.endswith("_type") and isinstance(failure.rest[-1], int))
        for failure in branch
    )
    return other, len(branch)


def _choice(schema: Schema, name: str, branch: Sequence[_Failure]) -> Schema:
    """Find the schema of the branch to which pydantic gave this name."""
    mapping = schema.selector.get("mapping", {})
    title = str(mapping.get(name, _VALIDATOR.sub("", name))).rpartition("/")[2]
    parts = [failure.rest[0] for failure in branch if failure.rest]
    shape = ("array" if isinstance(parts[0], int) else "object") if parts else None
    fitting = [choice for choice in schema.choices if shape in (None, choice.node.get("type"))]
    return max(fitting or schema.choices, key=lambda choice: _likeness(choice.title, title))


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
