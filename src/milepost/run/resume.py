"""Decide where a run starts: afresh, or from a checkpoint, and whether the options at hand may continue it.

The saved options are authoritative. Every difference from them is named with its class: see `compatibility`. What two
runs must have in common to be one experiment is read from their options, never from the clock, a path or a version.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from milepost.checkpoint import Checkpoint, describe_checkpoint, load_checkpoint, newest_verified
from milepost.checkpoint.catalogue import check_versions
from milepost.errors import DamagedArchiveError, OptionsError, ResumeError, UnsupportedVersionError
from milepost.model import Architecture
from milepost.options import RootOptions, differences, load_options
from milepost.run.compatibility import TRAINING, check_beginning, report, rule_for
from milepost.run.directory import RunDirectory, find_runs, open_run
from milepost.run.versions import what_to_install

if TYPE_CHECKING:
    from milepost.run.loadcheck import Given

BEGINNINGS = ("course.", f"{TRAINING}.finetune.")
"""Options of a run's own about what it begins with and ends with."""

ALIKE = 3
"""Differences up to which an unfinished run is worth mentioning where none has these very options."""


@dataclass(frozen=True)
class Start:
    """Say where to start: in which run's directory (None for a new one) and from which checkpoint (None for step 0).

    `given` is the file that the options begin with, where the run has nothing of its own yet. `saved` are the options
    of the checkpoint.
    """

    directory: RunDirectory | None
    checkpoint: Path | None
    messages: tuple[str, ...]
    given: "Given | None" = None
    saved: RootOptions | None = None


def identity(options: RootOptions) -> str:
    """Digest the options that make two runs the same experiment: all that would be refused on a change, where the
    weights came from, and where the data lie. What has its default is left out, so that a key which a later version
    adds changes no run's identity.
    """
    given = options.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    telling = {d.key: d.new for d in differences({}, given) if rule_for(d).telling}
    return f"blake3:{blake3(json.dumps(telling, sort_keys=True, default=str).encode()).hexdigest()}"


def find_start(root: Path, options: RootOptions, restart: str | None, output: Path) -> Start:
    """Find where `--restart` leads: "auto", a file, or nothing.

    "auto" takes the furthest sound checkpoint of the newest unfinished run that has these very options, or else differs
    in nothing but what may change (its length, say), and got as far as saving one; without an unfinished one, of the
    finished run whose model lies under `output`, so that more epochs continue it and the same command again leaves
    everything as it is. Damaged files are passed over and named.

    Raises ResumeError for a directory, the ArchiveError family for a file that can't be opened, and
    UnsupportedVersionError where the run has a file of a newer version: nothing goes on before that one.
    """
    if restart is None:
        return Start(None, None, ())
    if restart != "auto":
        _check_no_directory(Path(restart))
        return _from_file(Path(restart))
    own = identity(options)
    same = [r for r in find_runs(root) if r.record.identity == own]
    unfinished = [run for run in same if run.record.state != "finished"]
    runs = [run for run in unfinished if _has(run, options)] or unfinished or _run_of(output, same)
    if not runs:
        lines = (f"no unfinished run with these options in '{root}': starting afresh", *_alike(root, options))
        return Start(None, None, lines)
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


def _check_no_directory(path: Path) -> None:
    if path.is_dir():
        inside = sorted(path.glob("*.ckpt")) or sorted(path.glob("checkpoints/*.ckpt"))
        raise ResumeError(
            f"could not continue from '{path}': expected a checkpoint, or auto, found a directory. "
            + (f"Give one of its files, as '{inside[-1]}'." if inside else "`milepost runs` lists runs.")
        )


def _has(run: RunDirectory, options: RootOptions) -> bool:
    """Tell whether a run has these options, but for those that change nothing."""
    try:
        saved = load_options(run.path / "options.yaml", type(options))
    except OptionsError:
        return False
    return all(rule_for(difference).change == "free" for difference in differences(saved, options))


def _run_of(output: Path, runs: list[RunDirectory]) -> list[RunDirectory]:
    """Choose the run whose model lies under `output`."""
    model = describe_checkpoint(output)
    return [run for run in runs if model is not None and model.run_id == run.record.run_id]


def _alike(root: Path, options: RootOptions) -> Iterator[str]:
    """Mention the newest unfinished run whose options are nearly these: it may be the one that was meant."""
    for run in reversed(find_runs(root)):
        if run.record.state == "finished":
            continue
        try:
            saved = load_options(run.path / "options.yaml", type(options))
        except OptionsError:
            continue  # of another architecture or version
        found = [difference for difference in differences(saved, options) if rule_for(difference).telling]
        newest = _newest(run) if 0 < len(found) <= ALIKE else None
        if newest is not None:
            refused = any(rule_for(difference).change == "refused" for difference in found)
            way = "it needs the old values" if refused else f"--restart '{newest}' continues it"
            yield f"the unfinished run in '{run.path}' differs in {'; '.join(map(str, found))}: {way}"
            return


def _newest(run: RunDirectory) -> Path | None:
    """Return a run's furthest sound checkpoint; None where there is none that could be gone on from."""
    try:
        return newest_verified(run.checkpoints, run.record.run_id)[0]
    except UnsupportedVersionError:
        return None


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
            own = open_run(path.parent.parent) or run
            check_versions(own.checkpoints, own.record.run_id)
            return Start(own, path, ())
    return Start(None, path, (f"'{path}' lies outside its run: continuing it in a new directory",))


def check_options(
    saved: RootOptions, given: RootOptions, checkpoint: Checkpoint, *, begins_with: str | None = None
) -> Sequence[str]:
    """Compare saved and given options; return a line for every difference. A new run that `begins_with` the checkpoint,
    as its user calls it, has beginnings of its own: they are no difference.

    Raises ResumeError listing every difference by class, the refused ones first, each with what to do instead; to begin
    with a file there is but one thing to do.
    """
    found = differences(saved, given)
    if begins_with is not None:
        found = [difference for difference in found if not difference.key.startswith(BEGINNINGS)]
        check_beginning(found, begins_with)
    lines = report(found)
    refused = sum(rule_for(difference).change == "refused" for difference in found)
    if refused:
        raise ResumeError(
            f"could not continue from '{checkpoint.path}': expected the saved options, found {refused} that can't "
            "change while a run goes on (saved → given):\n  "
            + "\n  ".join(lines)
            + "\nRestore the refused values, or do what is said beside them; the others are as you like."
        )
    return [f"option changed, {line}" for line in lines]


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
