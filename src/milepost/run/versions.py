"""Read what a file says of its learner at the version that is installed, and name what to install for a newer one.

Promise: wherever a learner's options and what it remembers are used (a run goes on or goes back, a file predicts, is
converted or laid out for another program), they are those of the installed version.
Failure: UnsupportedVersionError with what to install; ArchiveError where the file is not what its version says;
StateMismatchError where the learner does not take the state that its own steps lead to.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any, cast

import yaml

from milepost.archive import Tree
from milepost.checkpoint import Checkpoint, CheckpointRecord
from milepost.errors import StateMismatchError
from milepost.learning import Learner, LearnerSpec, find_learner
from milepost.model import Architecture

LEARNER = "learner"
"""Component of a checkpoint that holds what the learner remembers, and the section of the options that chose it."""

# What the `load_state_dict` of a learner raises where a state does not fit.
_REFUSALS = (ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError)


def what_to_install(checkpoint: Checkpoint, newer: Architecture | LearnerSpec) -> str:
    """Name what to install for a checkpoint whose architecture or learner is newer than the installed one."""
    brought_by = newer.build.module.partition(".")[0]
    if brought_by == "milepost":
        return checkpoint.what_to_install
    return f"install a newer version of the package '{brought_by}'"


def saved_version(record: CheckpointRecord, spec: LearnerSpec) -> int:
    """Return the version of a learner in a file: the first, where it notes none for one that remembers nothing."""
    return record.versions.get(spec.version_key, 1)


def is_today(checkpoint: Checkpoint, spec: LearnerSpec) -> bool:
    """Tell whether a file has a learner's options and state as they are today."""
    return saved_version(checkpoint.record, spec) == spec.version


def remembered(
    checkpoint: Checkpoint, spec: LearnerSpec, options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a learner's options and what it remembers, of today; an empty state where the file has none."""
    state = checkpoint.state(LEARNER) if LEARNER in checkpoint.components else {}
    return spec.upgrade(
        saved_version(checkpoint.record, spec),
        copy.deepcopy(dict(options)),
        cast(dict[str, Any], state),
        to_install=what_to_install(checkpoint, spec),
        where=checkpoint.path,
    )


def options_of_today(checkpoint: Checkpoint, spec: LearnerSpec) -> str:
    """Return the saved options as a text, with the learner's section as today's version has it."""
    if is_today(checkpoint, spec):
        return checkpoint.options_yaml
    data = cast(dict[str, Any], yaml.safe_load(checkpoint.options_yaml))
    return json.dumps({**data, LEARNER: remembered(checkpoint, spec, saved_section(checkpoint))[0]})


def saved_section(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the learner's section of the saved options, as it is in the file."""
    data = yaml.safe_load(checkpoint.options_yaml)
    section = cast(dict[str, Any], data).get(LEARNER) if isinstance(data, dict) else None
    return cast(dict[str, Any], section) if isinstance(section, dict) else {}


def take_over(checkpoint: Checkpoint, learner: Learner, state: dict[str, Any]) -> None:
    """Give a learner the state that its steps lead to. Raises StateMismatchError where it does not take it."""
    try:
        learner.load_state_dict(state)
    except _REFUSALS as error:
        raise StateMismatchError(
            f"could not restore from '{checkpoint.path}':\n  learner: {type(error).__name__}: {error}\n"
            "Correct the upgrade steps of the learner."
        ) from error


def renewed(
    checkpoint: Checkpoint, options: dict[str, Any], state: dict[str, Tree], notes: list[str]
) -> dict[str, int]:
    """Carry the learner of a whole checkpoint, in its options and its state, to the version of today.

    Returns what the record's versions gain. A file that notes no version of the learner that its options name has
    nothing that would have to be carried.
    """
    section = saved_section(checkpoint)
    name = section.get("name")
    version = checkpoint.record.versions.get(f"learner {name}")
    if version is None:
        return {}
    spec = find_learner(str(name))
    if is_today(checkpoint, spec):
        return {}
    options[LEARNER], learned = remembered(checkpoint, spec, section)
    if learned or LEARNER in state:
        state[LEARNER] = learned
    notes.append(f"{spec.version_key}: version {version} → {spec.version}")
    return {spec.version_key: spec.version}
