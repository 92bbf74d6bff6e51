"""In which environments the steps of a run were taken: what its last bits depend on besides its options.

Promise: a run that stays in one environment has one segment, however often it is stopped and continued, so that its
files are those of a run that never was. Whatever differs begins a new segment, at the step from which it holds.
Failure: ArchiveError listing every entry of a file that is no segment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from milepost.errors import ArchiveError


@dataclass(frozen=True, slots=True)
class Segment:
    """Say in which environment the steps after `step` were taken, up to the next segment."""

    step: int
    environment: Mapping[str, Any]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say what differs between two environments, as "torch 2.12.0 → 2.13.0"; what only one of them tells is unknown
    of the other, and no difference.
    """
    return [f"{key} {before[key]} → {after[key]}" for key in before if key in after and before[key] != after[key]]


def extended(lineage: Sequence[Segment], step: int, environment: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Return the lineage of a run that goes on at `step` in this environment."""
    if lineage and not changes(lineage[-1].environment, environment):
        return tuple(lineage)
    return (*lineage, Segment(step, dict(environment)))


def segment_values(segment: Segment) -> dict[str, Any]:
    """Return the plain values that a manifest holds of a segment."""
    given: Any = segment.environment
    plain = dict(cast(Mapping[Any, Any], given)) if isinstance(given, Mapping) else given
    return {"step": segment.step, "environment": plain}


def read_lineage(values: object) -> tuple[Segment, ...]:
    """Return the lineage that a manifest holds; raises ArchiveError where it is none."""
    entries = cast(list[Any], values) if isinstance(values, list) else [values]
    found = [_segment(entry) for entry in entries]
    wrong = [entry for entry, segment in zip(entries, found, strict=True) if segment is None]
    if wrong:
        shown = "; ".join(repr(entry) for entry in wrong)
        raise ArchiveError(f"lineage: expected a list of objects with a step and an environment, found {shown}")
    return tuple(segment for segment in found if segment is not None)


def _segment(value: object) -> Segment | None:
    entry = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    step, environment = entry.get("step"), entry.get("environment")
    if type(step) is not int or not isinstance(environment, dict):
        return None
    return Segment(step, cast(dict[str, Any], environment))
