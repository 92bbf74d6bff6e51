"""What a run writes about itself in `run.json`: who it is, how it stands, who worked on it.

Promise: a file without the keys of today opens, with what they would say left empty; keys of a later version are passed
over. Nothing in it names a host, a user or a path.
Failure: a file that is none of ours reads as None; OSError where one can't be read.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

State = Literal["running", "stopped", "finished", "failed"]


@dataclass(frozen=True)
class BestValue:
    """Hold the best value of the monitored metric; `step` is None where it is not known any more."""

    metric: str
    value: float
    step: int | None = None


@dataclass(frozen=True)
class SavedCheckpoint:
    """Name the newest checkpoint that is safe: a file in `checkpoints/`, when it was committed."""

    name: str
    step: int
    time: str


@dataclass(frozen=True)
class Share:
    """Hold one process's share of a run.

    `last_step` is the last one it saved, or ended at. `ended` is None while it works and after it was killed.
    `environment` holds versions, device and threads, `changes` what in them changed since the process before.
    """

    first_step: int
    last_step: int
    started: str
    ended: str | None = None
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """Hold what `run.json` says.

    `identity` digests the options that make two runs the same experiment. `ordinal` counts the runs of one folder by
    the order of their starts, whatever the clock says. `note` is why the run ended: a signal, a limit, an error.
    """

    run_id: str
    identity: str
    created: str
    ordinal: int = 0
    state: State = "running"
    step: int = 0
    note: str = ""
    total_steps: int | None = None
    epoch: int | None = None
    best: BestValue | None = None
    last_checkpoint: SavedCheckpoint | None = None
    processes: tuple[Share, ...] = ()


def read_record(path: Path) -> RunRecord | None:
    """Read `run.json`; None where there is none, or it is of another kind. Raises OSError where it can't be read."""
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("state", "running") not in get_args(State):
        return None
    shares = content.get("processes")
    read = [_read(Share, share, _SHARE) for share in shares] if isinstance(shares, list) else []
    nested = {
        "best": _read(BestValue, content.get("best"), _BEST),
        "last_checkpoint": _read(SavedCheckpoint, content.get("last_checkpoint"), _CHECKPOINT),
        "processes": tuple(share for share in read if share is not None),
    }
    return _read(RunRecord, {**content, **nested}, _RUN)


_NUMBER = (int, float)
_OPTIONAL_STEP = (int, type(None))
_BEST: Mapping[str, Any] = {"metric": str, "value": _NUMBER, "step": _OPTIONAL_STEP}
_CHECKPOINT: Mapping[str, Any] = {"name": str, "step": int, "time": str}
_SHARE: Mapping[str, Any] = {
    "first_step": int,
    "last_step": int,
    "started": str,
    "ended": (str, type(None)),
    "environment": dict,
    "changes": list,
}
_RUN: Mapping[str, Any] = {
    "run_id": str,
    "identity": str,
    "created": str,
    "ordinal": int,
    "state": str,
    "step": int,
    "note": str,
    "total_steps": _OPTIONAL_STEP,
    "epoch": _OPTIONAL_STEP,
    "best": (BestValue, type(None)),
    "last_checkpoint": (SavedCheckpoint, type(None)),
    "processes": tuple,
}

_T = TypeVar("_T")


def _read(cls: type[_T], content: object, types: Mapping[str, Any]) -> _T | None:
    """Build an object from what fits of a file's keys; None where one that it needs is missing or of another type."""
    if not isinstance(content, Mapping):
        return None
    values = {name: content[name] for name, kind in types.items() if _fits(content.get(name, ...), kind)}
    needed = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]  # type: ignore[arg-type]
    if any(name not in values for name in needed):
        return None
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _fits(value: object, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def record_text(record: RunRecord) -> str:
    """Write a record down."""
    return json.dumps(plain(record), indent=2, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Turn a record into what JSON can hold; a number that is not finite becomes null."""
    if hasattr(value, "__dataclass_fields__"):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
