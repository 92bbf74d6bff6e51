"""Divide frames into training, validation and test set, as a pure function of options and files.

A set is a fraction of the training files' frames, explicit frame numbers, or files of its own. Fractions are
drawn with the run's seed; no frame is in two sets. The split is recorded as frame numbers with a digest of
every file, so that a resumed run can prove that it has the same one.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milepost.atoms.options import (
    AtomsOptions,
    HeldOut,
    HeldOutOptions,
    HeldOutSystemsOptions,
    TrainingSetOptions,
)
from milepost.atoms.reading import Frame, Source, read_frames
from milepost.errors import DataError
from milepost.run.order import SPLIT_TASK, permutation


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
    main = read_frames(training.systems, training.targets.energy, folder)
    settings = {"validation": options.validation_set, "test": options.test_set}
    chosen: dict[str, list[int]] = {}
    parts: dict[str, tuple[Source, list[int]]] = {}
    digests = {"training": _digests(main)}
    for name, setting in settings.items():
        own = _own_source(setting, training, folder)
        if own is not None:
            digests[name] = _digests(own)
            parts[name] = own, _own_numbers(own, setting, name)
        elif isinstance(setting, HeldOutOptions):
            chosen[name] = frame_numbers(setting.indices, len(main.frames), f"{name}_set.indices")
    fixed = None if training.indices is None else frame_numbers(
        training.indices, len(main.frames), "training_set.indices"
    )  # fmt: skip
    _draw(settings, chosen, fixed, len(main.frames), options.seed)
    chosen["training"] = _rest(chosen, fixed, len(main.frames))
    parts |= {name: (main, numbers) for name, numbers in chosen.items()}
    _check_disjoint(parts)
    frames = {name: [source.frames[i] for i in numbers] for name, (source, numbers) in parts.items()}
    numbers = {name: numbers for name, (_, numbers) in parts.items()}
    return Split(frames, {"frames": numbers, "files": digests})


def frame_numbers(setting: list[int] | str | None, count: int, key: str) -> list[int]:
    """Read frame numbers from a list or from 'start:stop:step'; all frames for None.

    Raises DataError when they mean no frame, a frame that does not exist, or one frame twice.
    """
    if setting is None:
        return list(range(count))
    if isinstance(setting, str):
        try:
            parts = [int(part) if part.strip() else None for part in setting.split(":")]
            if not 2 <= len(parts) <= 3:
                raise ValueError
            numbers = list(range(*slice(*parts).indices(count)))
        except ValueError as error:
            raise DataError(
                f"could not choose frames by '{key}': expected a list of numbers or 'start:stop:step', "
                f"found '{setting}'. Correct the indices."
            ) from error
    else:
        numbers = list(setting)
    if not numbers:
        raise DataError(
            f"could not choose frames by '{key}': expected at least 1 frame, "
            f"found 0 of {count} by '{setting}'. Leave the set out or correct the indices."
        )
    wrong = [i for i in numbers if not 0 <= i < count]
    if wrong:
        raise DataError(
            f"could not choose frames by '{key}': expected numbers from 0 to {count - 1}, found {wrong[:5]}. "
            "The files hold fewer frames than that."
        )
    if len(set(numbers)) < len(numbers):
        raise DataError(
            f"could not choose frames by '{key}': expected every number once, "
            f"found {_repeated(numbers)[:5]} more often. Correct the indices."
        )
    return numbers


def _repeated(numbers: list[int]) -> list[int]:
    return sorted(number for number, times in Counter(numbers).items() if times > 1)


def _own_source(setting: HeldOut, training: TrainingSetOptions, folder: Path) -> Source | None:
    """Read the files of a set of its own; what it does not say about them is as in the training set."""
    energy = training.targets.energy
    if isinstance(setting, str):
        return read_frames(HeldOutSystemsOptions(read_from=setting).completed(training.systems), energy, folder)
    if isinstance(setting, HeldOutOptions) and setting.systems is not None:
        own = setting.targets.energy if setting.targets else energy
        return read_frames(setting.systems.completed(training.systems), own, folder)
    return None


def _own_numbers(own: Source, setting: HeldOut, name: str) -> list[int]:
    indices = setting.indices if isinstance(setting, HeldOutOptions) else None
    return frame_numbers(indices, len(own.frames), f"{name}_set.indices")


def _draw(
    settings: Mapping[str, HeldOut],
    chosen: dict[str, list[int]],
    fixed: list[int] | None,
    count: int,
    seed: int,
) -> None:
    """Draw the sets that are given as fractions, from the frames that no list names."""
    taken = {i for numbers in chosen.values() for i in numbers} | set(fixed or [])
    free = [i for i in permutation(seed, SPLIT_TASK, 0, count).tolist() if i not in taken]
    for name, setting in settings.items():
        if isinstance(setting, float | int):
            wanted = max(1, round(setting * count)) if setting > 0 else 0
            if wanted > len(free):
                raise DataError(
                    f"could not draw the {name} set: expected {wanted} frames ({setting:g} of {count}), "
                    f"found {len(free)} that no other set takes. "
                    f"Set {name}_set to 0 for none, or list fewer frames in the other sets."
                )
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


def _check_disjoint(parts: Mapping[str, tuple[Source, list[int]]]) -> None:
    """Refuse a frame in two sets, also when it comes from two copies of a file."""
    owner: dict[tuple[str, int], str] = {}
    for name, (source, numbers) in parts.items():
        for i in numbers:
            first = owner.setdefault(source.origins[i], name)
            if first != name:
                raise DataError(
                    f"could not split the data: expected every frame in one set, "
                    f"found {source.frames[i].where} in '{first}' and '{name}'. "
                    "Correct the files or the indices."
                )


def _digests(source: Source) -> dict[str, str]:
    """List files by number and name, never by path: a checkpoint says nothing of a machine's folders."""
    return {f"{i}:{Path(name).name}": digest for i, (name, digest) in enumerate(source.digests.items())}
