"""One save as a training loop makes it (the checkpoint, the hint `latest`, what the policy retires), and the promise.

`problems` is the oracle of every test in this folder: it reads a folder as the next process would and says how the
promise is broken. It needs nothing but the files.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from milepost.archive import Durability, FileSystem, is_draft
from milepost.checkpoint import (
    CheckpointRecord,
    KeepLast,
    checkpoint_name,
    load_checkpoint,
    mark_latest,
    newest_verified,
    retire,
    save_checkpoint,
)
from milepost.errors import ArchiveError

RUN = "run"
CREATED = "2026-01-01T00:00:00+00:00"
ENVIRONMENT = {"torch": "2"}
"""That of every machine: the length of a file decides in which states a power cut can leave it."""
NUMBERS = 5000  # 20 kB: several pages of the disk, several writes with a small buffer
LATEST = "latest"


def commit(
    folder: Path,
    step: int,
    *,
    run: str = RUN,
    overwrite: bool = False,
    durability: Durability = "power",
    filesystem: FileSystem | None = None,
    numbers: int = NUMBERS,
) -> Path:
    """Save a checkpoint whose every number is its step."""
    path = folder / checkpoint_name(step)
    save_checkpoint(
        path,
        {"model": {"w": torch.full((numbers,), float(step)), "b": torch.ones(3)}, "position": {"step": step}},
        options_yaml="seed: 1\n",
        record=CheckpointRecord(run, step, environment=ENVIRONMENT, created=CREATED),
        durability=durability,
        overwrite=overwrite,
        filesystem=filesystem,
    )
    return path


def save(
    folder: Path,
    step: int,
    *,
    run: str = RUN,
    overwrite: bool = False,
    keep: int = 1,
    durability: Durability = "power",
    filesystem: FileSystem | None = None,
    numbers: int = NUMBERS,
    committed: Callable[[int], object] = lambda step: None,
) -> None:
    """Commit, mark and retire, in the order of the training loop; `committed` is told when the commit returned."""
    path = commit(
        folder, step, run=run, overwrite=overwrite, durability=durability, filesystem=filesystem, numbers=numbers
    )
    committed(step)
    mark_latest(path, filesystem=filesystem)
    retire(folder, run, [KeepLast(keep)], path, filesystem=filesystem)


def problems(folder: Path, *, at_least: int = 0, run: str = RUN) -> list[str]:
    """Say how a folder breaks the promise that a save of step `at_least`, or a later one, is there; [] if it holds."""
    found = [f"{path.name} is no draft, no checkpoint and not '{LATEST}'" for path in strangers(folder)]
    newest, damaged = newest_verified(folder, run)
    found += [f"{entry.path.name} is damaged: {entry.damage}" for entry in damaged]
    found += [f"{path.name}: {problem}" for path in checkpoints(folder) for problem in problems_of(path)]
    if newest is None:
        return [*found, "no checkpoint is sound"]
    if newest.name < checkpoint_name(at_least):
        found.append(f"the newest sound checkpoint is {newest.name}, not that of step {at_least} or a later one")
    return found


def strangers(folder: Path) -> list[Path]:
    """List what is in the folder and should never be."""
    known = {LATEST, *(path.name for path in checkpoints(folder))}
    return [path for path in folder.iterdir() if not is_draft(path) and path.name not in known]


def checkpoints(folder: Path) -> list[Path]:
    """List what a command would take for a checkpoint by its name."""
    return sorted(folder.glob("[!.]*.ckpt"))


def problems_of(path: Path) -> list[str]:
    """Say what is wrong with a file that `commit` wrote, or part of it."""
    try:
        with load_checkpoint(path) as checkpoint:
            damages = list(map(str, checkpoint.verify()))
            if damages:
                return damages
            step, numbers = checkpoint.record.step, checkpoint.state("model")["w"]
            right = path.name == checkpoint_name(step) and checkpoint.state("position") == {"step": step}
            return [] if right and numbers.eq(step).all() else ["it verifies and holds other numbers"]
    except ArchiveError as error:
        return [f"it can't be opened: {error}"]
