"""Retire files by policy: a run's own, and never before a verified successor is there.

Failure: DamagedArchiveError if the successor is not sound, ValueError if it is not this run's or there is no run
to name; CommitError if a file cannot be removed. In the first two cases nothing is removed.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from milepost.archive import FileSystem, is_draft
from milepost.checkpoint.catalogue import list_checkpoints
from milepost.checkpoint.loading import load_checkpoint
from milepost.checkpoint.policies import KeepPolicy, all_kept
from milepost.errors import CommitError, DamagedArchiveError


def retire(
    folder: Path | str,
    run_id: str,
    keep: Sequence[KeepPolicy],
    successor: Path | str,
    *,
    filesystem: FileSystem | None = None,
) -> list[Path]:
    """Remove this run's checkpoints in `folder` that no policy keeps, once `successor` was read back whole
    and sound.

    The successor always stays. Files of other runs or of none, and files whose record cannot be read, are never
    touched. Returns what was removed; another process may have been faster. Without policies everything is kept.
    """
    if not run_id:
        raise ValueError(
            f"could not retire files in '{folder}': expected a run, found an empty run_id. "
            "Give the run an id, and its records the same: CheckpointRecord(run_id=...)."
        )
    folder, successor = Path(folder), Path(successor)
    filesystem = filesystem or FileSystem()
    _check_successor(successor, run_id)
    own = [entry for entry in list_checkpoints(folder) if entry.run_id == run_id]
    kept = all_kept(keep, own)
    if not keep:
        return []
    retired = [e.path for e in own if e.path not in kept and not _is_same(e.path, successor)]
    _remove(retired, folder, filesystem)
    return retired


def discard_drafts(folder: Path | str, of: str | None = None, *, filesystem: FileSystem | None = None) -> list[Path]:
    """Remove the drafts that killed processes left in `folder`, of the file named `of` or of any.

    The caller must be the only writer of such files.
    """
    folder = Path(folder)
    drafts = [path for path in folder.iterdir() if is_draft(path, of)] if folder.is_dir() else []
    _remove(drafts, folder, filesystem or FileSystem())
    return drafts


def _check_successor(successor: Path, run_id: str) -> None:
    with load_checkpoint(successor) as checkpoint:
        if checkpoint.record.run_id != run_id:
            raise ValueError(
                f"could not retire files after '{successor}': expected a checkpoint of run '{run_id}', "
                f"found one of run '{checkpoint.record.run_id}'. Give this run's newest checkpoint."
            )
        damages = checkpoint.verify()
    if damages:
        raise DamagedArchiveError(
            f"could not retire files after '{successor}': it is damaged, so everything is kept: "
            f"{'; '.join(map(str, damages))}. Save again, to another path."
        )


def _is_same(path: Path, successor: Path) -> bool:
    """Tell whether two names lead to one file; a file that is gone by now is not the successor."""
    try:
        return path.samefile(successor)
    except FileNotFoundError:
        return not successor.exists()


def _remove(paths: Sequence[Path], folder: Path, filesystem: FileSystem) -> None:
    path = folder
    try:
        for path in paths:
            with suppress(FileNotFoundError):  # another process of this run removed it
                filesystem.unlink(path)
        path = folder
        if paths:
            filesystem.fsync_directory(folder)
    except OSError as error:
        failure = CommitError(
            f"could not retire '{path}': {error.strerror or error}. The others are as they were; "
            "check the folder's permissions."
        )
        failure.errno = error.errno
        raise failure from error
