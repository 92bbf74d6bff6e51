"""Decide where a run starts: afresh, or from a checkpoint, and whether the options at hand may continue it.

The saved options are authoritative. Every difference from them is named and has a class: *free* (it can't change the
result), *allowed* (it changes what comes, as the user wants) or *refused* (the saved state would mean something else).
"""

import fnmatch
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blake3 import blake3

from milepost.checkpoint import Checkpoint, describe_checkpoint, load_checkpoint, newest_verified
from milepost.errors import DamagedArchiveError, ResumeError
from milepost.model import Architecture
from milepost.options import Difference, RootOptions, differences
from milepost.run.directory import RunDirectory, find_runs, open_run
from milepost.run.trained import what_to_install

ANCESTRY = "architecture.training.finetune.*"
"""Read once, when a run begins: free for a run that goes on, but a run of another ancestor is another run."""

FREE = ("device", "checkpoints.*", "architecture.training.log_every_steps", ANCESTRY)
ALLOWED = (
    "checkpoints.monitor",
    "checkpoints.mode",
    "architecture.training.epochs",
    "architecture.training.steps",
    "architecture.training.early_stopping.*",
)
Change = Literal["free", "allowed", "refused"]


@dataclass(frozen=True)
class Start:
    """Say where to start: in which run's directory (None for a new one) and from which checkpoint (None for step 0)."""

    directory: RunDirectory | None
    checkpoint: Path | None
    messages: tuple[str, ...]


def classify(difference: Difference) -> Change:
    """Tell what a difference between saved and given options means for resuming."""
    kinds: tuple[tuple[Change, tuple[str, ...]], ...] = (("allowed", ALLOWED), ("free", FREE))
    for change, patterns in kinds:
        if any(fnmatch.fnmatchcase(difference.key, pattern) for pattern in patterns):
            return change
    return "refused"


def identity(options: RootOptions) -> str:
    """Digest the options that make two runs the same experiment: all that would be refused on a change, and where
    the weights came from.
    """
    blank = differences({}, options)
    telling = {d.key: d.new for d in blank if classify(d) == "refused" or fnmatch.fnmatchcase(d.key, ANCESTRY)}
    return f"blake3:{blake3(json.dumps(telling, sort_keys=True, default=str).encode()).hexdigest()}"


def find_start(root: Path, options: RootOptions, restart: str | None, output: Path) -> Start:
    """Find where `--restart` leads: "auto", a file, or nothing.

    "auto" takes the furthest sound checkpoint of the newest unfinished run that has these options and got as far as
    saving one; without an unfinished one, of the finished run whose model lies under `output`, so that more epochs
    continue it and the same command again leaves everything as it is. Damaged files are passed over and named.

    Raises the ArchiveError family for a file that can't be opened.
    """
    if restart is None:
        return Start(None, None, ())
    if restart != "auto":
        return _from_file(Path(restart))
    own = identity(options)
    same = [r for r in find_runs(root) if r.record.identity == own]
    runs = [r for r in same if r.record.state != "finished"] or _run_of(output, same)
    if not runs:
        return Start(None, None, (f"no unfinished run with these options in '{root}': starting afresh",))
    finished = runs[-1].record.state == "finished"
    messages = [f"the run in '{runs[-1].path}' is finished: going on from its end"] if finished else []
    run, path = runs[-1], None
    for candidate in reversed(runs):
        path, damaged = newest_verified(candidate.checkpoints, candidate.record.run_id)
        messages += [f"passed over damaged '{entry.path}': {'; '.join(entry.damage)}" for entry in damaged]
        if path is not None:
            run = candidate
            break
    if path is None:
        messages.append(f"no sound checkpoint in '{run.path}' yet: starting it from the beginning")
    return Start(run, path, tuple(messages))


def _run_of(output: Path, runs: list[RunDirectory]) -> list[RunDirectory]:
    """Choose the run whose model lies under `output`."""
    model = describe_checkpoint(output)
    return [run for run in runs if model is not None and model.run_id == run.record.run_id]


def _from_file(path: Path) -> Start:
    with load_checkpoint(path) as checkpoint:
        damages = checkpoint.verify()
        if damages:
            raise DamagedArchiveError(
                f"could not continue from '{path}': {'; '.join(map(str, damages))}. "
                "Use another checkpoint of the run, or --restart auto, which passes over damaged ones."
            )
        run = open_run(path.resolve().parent.parent)
        if run is not None and run.record.run_id == checkpoint.record.run_id:
            own = open_run(path.parent.parent)
            return Start(own or run, path, ())
    return Start(None, path, (f"'{path}' lies outside its run: continuing it in a new directory",))


def check_options(saved: RootOptions, given: RootOptions, checkpoint: Checkpoint) -> Sequence[str]:
    """Compare saved and given options; return what to tell the user.

    Raises ResumeError listing every refused difference.
    """
    found = [(classify(d), d) for d in differences(saved, given)]
    refused = [str(d) for change, d in found if change == "refused"]
    if refused:
        raise ResumeError(
            f"could not continue from '{checkpoint.path}': these options differ from the saved ones in ways that "
            "would give its state another meaning (saved → given):\n  "
            + "\n  ".join(refused)
            + "\nRestore these values, or start a new run; to go on from its weights alone, name the file under "
            "architecture.training.finetune.read_from."
        )
    return [f"option changed ({change}): {d}" for change, d in found]


def check_version(checkpoint: Checkpoint, architecture: Architecture) -> None:
    """Refuse to continue with another version of the architecture than the state was saved by."""
    found = checkpoint.record.versions.get(architecture.name)
    if found != architecture.version:
        weights = "name the file under architecture.training.finetune.read_from"
        newer = found is not None and found > architecture.version
        remedy = what_to_install(checkpoint, architecture) if newer else f"start from its weights instead, {weights}"
        raise ResumeError(
            f"could not continue from '{checkpoint.path}': expected a state of '{architecture.name}' version "
            f"{architecture.version}, found version {found}: {remedy}."
        )


def check_split(saved: object, found: object, path: Path) -> None:
    """Compare the saved split of the data with today's; raises ResumeError naming what changed."""
    if saved == found:
        return
    old = saved if isinstance(saved, dict) else {}
    new = found if isinstance(found, dict) else {}
    lines = [f"{d.key}: expected {_short(d.old)}, found {_short(d.new)}" for d in differences(old, new)]
    raise ResumeError(
        f"could not continue from '{path}': the data are not those that the run was started with:\n  "
        + "\n  ".join(lines)
        + "\nRestore the files, or start a new run."
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
