"""Which checkpoints a folder holds, by content.

Promise: the truth is a scan of the files; names, times and the `latest` file decide nothing. Drafts are not
listed.
Failure: a file that is damaged, or of a version that is not known here, is an entry that says so. Only where one is
chosen to go on from, UnsupportedVersionError stops that: a newer file may be the furthest of all.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from milepost.archive import Archive, FileSystem, atomic_write, is_draft
from milepost.checkpoint.loading import load_checkpoint
from milepost.checkpoint.record import CheckpointRecord
from milepost.errors import ArchiveError, NotAnArchiveError, OverwriteError, UnsupportedVersionError

SUFFIX = ".ckpt"
LATEST = "latest"


@dataclass(frozen=True)
class CatalogueEntry:
    """Describe one file.

    `record` and `digest` are None where they could not be read; `verified` means that the whole file was read
    and found sound. `too_new` is a file of a version that is not known here, whatever its bytes are like: then
    `damage` says what to install.
    """

    path: Path
    record: CheckpointRecord | None
    digest: str | None
    damage: tuple[str, ...] = ()
    verified: bool = False
    too_new: bool = False

    @property
    def run_id(self) -> str | None:
        """The run it belongs to, where that can be read."""
        return self.record.run_id if self.record else None

    @property
    def step(self) -> int:
        """The step it reached, -1 where that cannot be read."""
        return self.record.step if self.record else -1


def checkpoint_name(step: int) -> str:
    """Return the usual file name of a step's checkpoint, `step-00001234.ckpt`."""
    return f"step-{step:08d}{SUFFIX}"


def list_checkpoints(folder: Path | str, *, verify: bool = False) -> list[CatalogueEntry]:
    """Describe the checkpoints directly in `folder`, by rising step; with `verify`, read all of each.

    Files of other kinds are left out unless they are named `*.ckpt`: those are listed with their damage. A
    folder that does not exist holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return []
    entries = [entry for path in folder.iterdir() if (entry := describe_checkpoint(path, verify=verify)) is not None]
    return sorted(entries, key=_order)


def describe_checkpoint(path: Path | str, *, verify: bool = False) -> CatalogueEntry | None:
    """Describe one file as `list_checkpoints` does; None where it would not be listed, or is not there."""
    path = Path(path)
    return None if path.is_symlink() or not path.is_file() or is_draft(path) else _describe(path, verify)


def newest_verified(folder: Path | str, run_id: str | None = None) -> tuple[Path | None, list[CatalogueEntry]]:
    """Return the furthest sound checkpoint in `folder`, and the damaged ones met on the way with their
    reasons.

    With `run_id`, checkpoints of other runs are passed over. Each file is read whole, furthest first, until
    one is sound; None if none is. Files whose record cannot be read are always among the damaged.

    Raises UnsupportedVersionError, naming what to install, where any is of a newer version, unless it says that
    it belongs to another run.
    """
    listed = list_checkpoints(folder)
    _check_versions(folder, listed, run_id)
    entries = [e for e in listed if e.record is None or run_id in (None, e.run_id)]
    damaged = [entry for entry in entries if entry.record is None and not entry.too_new]
    for entry in reversed([entry for entry in entries if entry.record is not None]):
        verified = _describe(entry.path, verify=True)
        if verified is not None and verified.verified:
            return verified.path, damaged
        if verified is not None:
            damaged.append(verified)
    return None, damaged


def check_versions(folder: Path | str, run_id: str | None = None) -> None:
    """Raise UnsupportedVersionError where `newest_verified` would."""
    _check_versions(folder, list_checkpoints(folder), run_id)


def check_replaceable(path: Path | str, run_id: str | None = None) -> None:
    """Refuse to replace a file of a newer version, or, with `run_id`, one of another run.

    Raises UnsupportedVersionError and OverwriteError. A damaged file may be replaced.
    """
    entry = describe_checkpoint(path)
    if entry is None:
        return
    if entry.too_new:
        raise UnsupportedVersionError(f"could not replace '{path}': {'; '.join(entry.damage)}")
    if run_id is not None and entry.run_id not in (None, run_id):
        raise OverwriteError(
            f"could not replace '{path}': expected a checkpoint of run '{run_id}', found one of run "
            f"'{entry.run_id}'. Move it to another folder."
        )


def mark_latest(path: Path | str, *, filesystem: FileSystem | None = None) -> None:
    """Note in the file `latest` which checkpoint is: a hint for people that Milepost never relies on."""
    path = Path(path)
    content = os.fsencode(path.name) + b"\n"  # a name need not be text
    atomic_write(
        path.with_name(LATEST),
        lambda stream: _put(stream, content),
        durability="process",
        overwrite=True,
        filesystem=filesystem,
    )


def _check_versions(folder: Path | str, entries: list[CatalogueEntry], run_id: str | None) -> None:
    newer = [e for e in entries if e.too_new and (run_id is None or _declared_run(e.path) in (None, run_id))]
    if newer:
        reasons = " | ".join("; ".join(entry.damage) for entry in newer)
        raise UnsupportedVersionError(f"could not go on from the checkpoints in '{folder}': {reasons}")


def _declared_run(path: Path) -> str | None:
    """Return the run that a file names whose training state is newer; None where even that can't be read."""
    try:
        with Archive.open(path) as archive:
            run_id = archive.manifest.extra.get("run_id")
    except (ArchiveError, OSError):
        return None
    return run_id if isinstance(run_id, str) else None


def _put(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)


def _order(entry: CatalogueEntry) -> tuple[int, str, str]:
    return entry.step, entry.record.created if entry.record else "", entry.path.name


def _describe(path: Path, verify: bool) -> CatalogueEntry | None:
    """Describe one file, or return None if it is gone or of another kind."""
    try:
        with load_checkpoint(path) as checkpoint:
            entry = CatalogueEntry(path, checkpoint.record, checkpoint.digest)
            if not verify:
                return entry
            damage = tuple(map(str, checkpoint.verify()))
            return replace(entry, damage=damage, verified=not damage)
    except FileNotFoundError:
        return None
    except NotAnArchiveError as error:
        return CatalogueEntry(path, None, None, (str(error),)) if path.suffix == SUFFIX else None
    except UnsupportedVersionError as error:
        return CatalogueEntry(path, None, None, (str(error),), too_new=True)
    except (ArchiveError, OSError) as error:
        return CatalogueEntry(path, None, None, (str(error),))
