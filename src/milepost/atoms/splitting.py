"""Divide frames into training, validation and test set, as a pure function of options and files.

A set is a fraction of the training files' frames, explicit frame numbers, or files of its own. Fractions are
drawn with the run's seed; no frame is in two sets. The split is recorded as frame numbers with a digest of
every file, so that a resumed run can prove that it has the same one.

Of several tasks each has a split of its own. Two may train on the same frame, or be measured on it; but what one trains
on is held out by none.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from milepost.atoms.options import (
    AtomsOptions,
    HeldOut,
    HeldOutOptions,
    HeldOutSystemsOptions,
    TaskOptions,
    TrainingSetOptions,
)
from milepost.atoms.reading import Frame, Source, read_frames
from milepost.errors import DataError
from milepost.run.order import SPLIT_TASK, permutation


@dataclass(frozen=True)
class Split:
    """Hold the frames of each set, the record of how they were chosen, and of which file and number each frame is."""

    frames: Mapping[str, list[Frame]]
    record: Mapping[str, Any]
    origins: Mapping[str, list[tuple[str, int]]]


def split_tasks(options: AtomsOptions, folder: Path) -> list[tuple[str, Split]]:
    """Read the files of every task and divide their frames; return each task's name with its split.

    Raises DataError as `split_frames` does, and when one task trains on what another holds out.
    """
    tasks = options.sequence()
    if options.training_set is not None:
        return [("", split_frames(tasks[0], options.seed, folder))]
    places = (f"tasks.{number}." for number in range(len(tasks)))
    found = [
        (task.name, split_frames(task, options.seed, folder, place, number))
        for number, (task, place) in enumerate(zip(tasks, places, strict=True))
    ]
    _check_held_out(found)
    return found


def split_frames(task: TaskOptions, seed: int, folder: Path, place: str = "", number: int = 0) -> Split:
    """Read all files of a task and divide their frames; `place` is where its options stand, and ends in a dot.

    Raises DataError when a frame number does not exist, is used twice, or no frame is left to train on.
    """
    training = task.training_set
    main = read_frames(training.systems, training.targets.energy, folder)
    settings = {"validation": task.validation_set, "test": task.test_set}
    chosen: dict[str, list[int]] = {}
    parts: dict[str, tuple[Source, list[int]]] = {}
    digests = {"training": _digests(main)}
    for name, setting in settings.items():
        own = _own_source(setting, training, folder)
        if own is not None:
            digests[name] = _digests(own)
            parts[name] = own, _own_numbers(own, setting, f"{place}{name}")
        elif isinstance(setting, HeldOutOptions):
            chosen[name] = frame_numbers(setting.indices, len(main.frames), f"{place}{name}_set.indices")
    fixed = None if training.indices is None else frame_numbers(
        training.indices, len(main.frames), f"{place}training_set.indices"
    )  # fmt: skip
    free = _free(chosen, fixed, permutation(seed, SPLIT_TASK, number, len(main.frames)))
    _draw(settings, chosen, free, len(main.frames), place)
    chosen["training"] = _rest(chosen, fixed, len(main.frames))
    parts |= {name: (main, numbers) for name, numbers in chosen.items()}
    _check_disjoint(parts)
    frames = {name: [source.frames[i] for i in numbers] for name, (source, numbers) in parts.items()}
    numbers = {name: numbers for name, (_, numbers) in parts.items()}
    origins = {name: [source.origins[i] for i in numbers] for name, (source, numbers) in parts.items()}
    return Split(frames, {"frames": numbers, "files": digests}, origins)


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
    """List the frames that a set takes of its own files; `name` is that of the set, with where its options stand."""
    indices = setting.indices if isinstance(setting, HeldOutOptions) else None
    return frame_numbers(indices, len(own.frames), f"{name}_set.indices")


def _free(chosen: Mapping[str, list[int]], fixed: list[int] | None, order: Tensor) -> list[int]:
    """List the frames that no list names, in this order."""
    taken = {i for numbers in chosen.values() for i in numbers} | set(fixed or [])
    return [i for i in order.tolist() if i not in taken]


def _draw(
    settings: Mapping[str, HeldOut], chosen: dict[str, list[int]], free: list[int], count: int, place: str
) -> None:
    """Take the sets that are given as fractions of so many frames from those that are free."""
    for name, setting in settings.items():
        if isinstance(setting, float | int):
            wanted = max(1, round(setting * count)) if setting > 0 else 0
            if wanted > len(free):
                raise DataError(
                    f"could not draw the {name} set: expected {wanted} frames ({setting:g} of {count}), "
                    f"found {len(free)} that no other set takes. "
                    f"Set {place}{name}_set to 0 for none, or list fewer frames in the other sets."
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


def _check_held_out(tasks: Sequence[tuple[str, Split]]) -> None:
    """Refuse a frame that one task trains on and another holds out."""
    trained: dict[tuple[str, int], str] = {}
    for name, split in tasks:
        for origin in split.origins["training"]:
            trained.setdefault(origin, name)
    for name, split in tasks:
        for held_out in ("validation", "test"):
            for frame, origin in zip(split.frames[held_out], split.origins[held_out], strict=True):
                if origin in trained:
                    raise DataError(
                        f"could not split the data: expected no task to train on what another holds out, found "
                        f"{frame.where} in 'training' of '{trained[origin]}' and '{held_out}' of '{name}'. "
                        "Correct the files or the indices."
                    )


def _digests(source: Source) -> dict[str, str]:
    """List files by number and name, never by path: a checkpoint says nothing of a machine's folders."""
    return {f"{i}:{Path(name).name}": digest for i, (name, digest) in enumerate(source.digests.items())}
