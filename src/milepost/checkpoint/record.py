"""What a checkpoint says about itself in its manifest.

Promise: `read_record` gives the record that was saved, with every field of its documented type, also from a file of an
older version. What it would refuse is not saved.
Failure: UnsavableError or ArchiveError, listing each field that is not as expected; UnsupportedVersionError naming the
version to install.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, cast

from milepost.checkpoint.environment import milepost_version
from milepost.checkpoint.lineage import Segment, read_lineage, segment_values
from milepost.checkpoint.upgrades import TRAINING_STATE_VERSION, VERSION_KEY, WRITER_KEY, upgraded_keys
from milepost.errors import ArchiveError, UnsavableError


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class CheckpointRecord:
    """Identify a checkpoint: whose it is, how far it got, where it comes from.

    `step` counts optimizer steps and `epoch` completed epochs, over the whole run; `task` is the index in the
    stream, from 0, of the task that the last step belongs to, also where that task is done. `parents` are digests
    of files that this run started from. `metrics` are the latest ones, by name. `versions` are integers by
    component. `environment` is that of the process that wrote the file; `lineage` lists those in which the run was
    made, first to last. `created` is a UTC time in ISO 8601. A file without a `run_id` belongs to no run: nothing
    retires it.
    """

    run_id: str = ""
    step: int = 0
    epoch: int = 0
    task: int = 0
    parents: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, int] = field(default_factory=dict[str, int])
    lineage: tuple[Segment, ...] = ()
    created: str = field(default_factory=_now)


_MAPPINGS = ("metrics", "metadata", "environment", "versions")
_TYPES: Mapping[str, type] = {"run_id": str, "step": int, "epoch": int, "task": int, "created": str}


def manifest_keys(record: CheckpointRecord) -> dict[str, Any]:
    """Return the manifest's keys for `record`, in the version of today and with the version that writes them.

    Raises UnsavableError listing each field that `read_record` would refuse.
    """
    keys = {item.name: _plain(getattr(record, item.name)) for item in fields(record)}
    problems = _problems(keys)
    if VERSION_KEY in (keys["versions"] if isinstance(keys["versions"], dict) else ()):
        problems.append(f"versions.{VERSION_KEY}: expected versions of other components, found the file's own")
    if problems:
        raise UnsavableError(
            "could not save the record: " + "; ".join(problems) + ". Convert them where the record is made."
        )
    keys["versions"][VERSION_KEY] = TRAINING_STATE_VERSION
    return keys | {WRITER_KEY: f"milepost {milepost_version()}"}


def _plain(value: Any) -> Any:
    """Turn the containers of a record into those of a manifest, and leave everything else to be checked."""
    if isinstance(value, Mapping):
        return dict(cast(Mapping[Any, Any], value))
    if isinstance(value, Segment):
        return segment_values(value)
    return [_plain(item) for item in cast(Sequence[Any], value)] if isinstance(value, tuple | list) else value


def read_record(keys: Mapping[str, Any]) -> CheckpointRecord:
    """Build the record from the manifest's keys, of today's version or an older one."""
    keys = upgraded_keys(keys)
    problems = _problems(keys)
    if problems:
        raise ArchiveError("the manifest is not a checkpoint's: " + "; ".join(problems))
    versions = {name: version for name, version in keys["versions"].items() if name != VERSION_KEY}
    known = {item.name for item in fields(CheckpointRecord)}
    values: dict[str, Any] = {name: value for name, value in keys.items() if name in known}
    lineage = read_lineage(keys.get("lineage", []))
    values |= {"parents": tuple(keys["parents"]), "versions": versions, "lineage": lineage}
    return CheckpointRecord(**values)


def _problems(keys: Mapping[str, Any]) -> list[str]:
    """List what is not as `CheckpointRecord` documents it: the same for what is saved and for what is read."""
    problems = [
        f"{name}: expected {kind.__name__}, found {keys.get(name)!r}"
        for name, kind in _TYPES.items()
        if type(keys.get(name)) is not kind
    ]
    problems += [
        f"{n}: expected an object, found {keys.get(n)!r}" for n in _MAPPINGS if not isinstance(keys.get(n), dict)
    ]
    parents = keys.get("parents")
    if not isinstance(parents, list) or not all(isinstance(p, str) for p in cast(list[Any], parents)):
        problems.append(f"parents: expected a list of digests, found {parents!r}")
    try:
        read_lineage(keys.get("lineage", []))
    except ArchiveError as error:
        problems.append(str(error))
    return problems or _value_problems(keys)


def _value_problems(keys: Mapping[str, Any]) -> list[str]:
    metrics, versions = cast(dict[Any, Any], keys["metrics"]), cast(dict[Any, Any], keys["versions"])
    problems = [
        f"metrics.{name}: expected a number, found {value!r}"
        for name, value in metrics.items()
        if isinstance(value, bool) or not isinstance(value, int | float)
    ]
    problems += [
        f"versions.{name}: expected an integer, found {value!r}"
        for name, value in versions.items()
        if type(value) is not int
    ]
    return problems
