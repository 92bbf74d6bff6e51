"""Divide frames into training, validation and test set, as a pure function of options and files.

A set is a fraction of the training files' frames, explicit frame numbers, or files of its own. Fractions are drawn
with the run's seed; no frame is in two sets. The split is recorded as frame numbers with a digest of every file, so
that a resumed run can prove that it has the same one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milepost.atoms.options import AtomsOptions, EnergyOptions, HeldOut, HeldOutOptions, SystemsOptions
from milepost.atoms.reading import Frame, Source, read_frames
from milepost.errors import DataError
from milepost.run.order import SPLIT_TASK, permutation

HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Split:
    """Hold the frames of each set, and the record of how they were chosen."""

    frames: Mapping[str, list[Frame]]
    record: Mapping[str, Any]


def split_frames(options: AtomsOptions, folder: Path) -> Split:
    """Read all files and divide their frames.

    Raises DataError when a frame number does not exist, is used twice, or no frame is left to train on.
    """
    training = options.training_set
    energy = training.targets.energy
    main = read_frames(training.systems, energy, folder)
    settings = {"validation": options.validation_set, "test": options.test_set}
    frames: dict[str, list[Frame]] = {}
    chosen: dict[str, list[int]] = {}
    digests = {"training": _digests(main)}
    for name, setting in settings.items():
        own = _own_source(setting, energy, folder)
        if own is not None:
            digests[name] = _digests(own)
            frames[name] = _own_frames(own, setting, name)
        elif isinstance(setting, HeldOutOptions):
            chosen[name] = frame_numbers(setting.indices, len(main.frames), f"{name}_set.indices")
    fixed = None if training.indices is None else frame_numbers(
        training.indices, len(main.frames), "training_set.indices"
    )  # fmt: skip
    _draw(settings, chosen, fixed, len(main.frames), options.seed)
    chosen["training"] = _rest(chosen, fixed, len(main.frames))
    _check_disjoint(chosen)
    frames |= {name: [main.frames[i] for i in numbers] for name, numbers in chosen.items()}
    for name in HELD_OUT:
        frames.setdefault(name, [])
    return Split(frames, {"frames": chosen, "files": digests})


def frame_numbers(setting: list[int] | str | None, count: int, key: str) -> list[int]:
    """Read frame numbers from a list or from 'start:stop:step'; all frames for None."""
    if setting is None:
        return list(range(count))
    if isinstance(setting, str):
        try:
            parts = [int(part) if part.strip() else None for part in setting.split(":")]
            if not 2 <= len(parts) <= 3:
                raise ValueError
            return list(range(*slice(*parts).indices(count)))
        except ValueError as error:
            raise DataError(
                f"could not choose frames by '{key}': expected a list of numbers or 'start:stop:step', "
                f"found '{setting}'."
            ) from error
    wrong = [i for i in setting if not 0 <= i < count]
    if wrong:
        raise DataError(
            f"could not choose frames by '{key}': expected numbers from 0 to {count - 1}, found {wrong[:5]}. "
            "The files hold fewer frames than that."
        )
    return list(setting)


def _own_source(setting: HeldOut, energy: EnergyOptions, folder: Path) -> Source | None:
    if isinstance(setting, str):
        return read_frames(SystemsOptions(read_from=setting), energy, folder)
    if isinstance(setting, HeldOutOptions) and setting.systems is not None:
        return read_frames(setting.systems, setting.targets.energy if setting.targets else energy, folder)
    return None


def _own_frames(own: Source, setting: HeldOut, name: str) -> list[Frame]:
    indices = setting.indices if isinstance(setting, HeldOutOptions) else None
    return [own.frames[i] for i in frame_numbers(indices, len(own.frames), f"{name}_set.indices")]


def _draw(
    settings: Mapping[str, HeldOut], chosen: dict[str, list[int]], fixed: list[int] | None, count: int, seed: int
) -> None:
    """Draw the sets that are given as fractions, from the frames that no list names."""
    taken = {i for numbers in chosen.values() for i in numbers} | set(fixed or [])
    free = [i for i in permutation(seed, SPLIT_TASK, 0, count).tolist() if i not in taken]
    for name, setting in settings.items():
        if isinstance(setting, float | int):
            wanted = min(len(free), max(1, round(setting * count))) if setting > 0 else 0
            chosen[name], free = sorted(free[:wanted]), free[wanted:]


def _rest(chosen: Mapping[str, list[int]], fixed: list[int] | None, count: int) -> list[int]:
    held = {i for numbers in chosen.values() for i in numbers}
    rest = fixed if fixed is not None else [i for i in range(count) if i not in held]
    if not rest:
        raise DataError(
            f"could not form the training set: expected at least 1 frame, found 0 of {count}. "
            "Hold out fewer frames or give more data."
        )
    return rest


def _check_disjoint(chosen: Mapping[str, list[int]]) -> None:
    owner: dict[int, str] = {}
    for name, numbers in chosen.items():
        for i in numbers:
            if i in owner:
                raise DataError(
                    f"could not split the data: expected every frame in one set, found frame {i} in "
                    f"'{owner[i]}' and '{name}'. Correct the indices."
                )
            owner[i] = name


def _digests(source: Source) -> dict[str, str]:
    """List files by number and name, never by path: a checkpoint says nothing of a machine's folders."""
    return {f"{i}:{Path(name).name}": digest for i, (name, digest) in enumerate(source.digests.items())}
