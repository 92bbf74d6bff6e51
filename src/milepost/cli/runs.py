"""`milepost runs`: what the runs below a folder are doing, or how they ended."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from milepost.cli.terminal import say, visible

if TYPE_CHECKING:
    from milepost.run.index import RunStatus


@click.command("runs")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folders: tuple[Path, ...], as_json: bool) -> int:
    """List the runs below each FOLDER, newest last: state, progress, best metric, last checkpoint, how it ended.

    A FOLDER is where training was started (the default is this one), one above, its outputs/, or a run. Only files are
    read: a run that is looked at notices nothing. A run is killed when it was running and its process is gone. The
    status is 1 where a run's files can't be read.
    """
    from milepost.run.index import list_runs

    for folder in folders:
        folder.stat()  # a folder that is not there is a mistake, and not one without runs
    unreadable: list[OSError] = []
    found = list_runs(folders or (Path(),), unreadable)
    for error in unreadable:
        say(f"could not read '{error.filename}': {error.strerror}", err=True)
    if as_json:
        say(json.dumps([fields(run) for run in found], indent=2, ensure_ascii=False))
    elif found:
        say("\n".join(map(visible, table([row(run) for run in found]))))
    elif not unreadable:
        say(f"no runs below {', '.join(repr(str(folder)) for folder in folders or (Path(),))}", err=True)
    return 1 if unreadable else 0


def row(run: "RunStatus") -> dict[str, str]:
    """Say in words how a run stands."""
    best = run.record.best
    at = "" if best is None or best.step is None else f" at {best.step}"
    return {
        "run": shown_path(run.path),
        "state": run.condition,
        "progress": progress(run),
        "best": "" if best is None else f"{best.metric} {best.value:.4g}{at}",
        "last checkpoint": _checkpoint(run),
        "how it goes": account(run),
    }


def progress(run: "RunStatus") -> str:
    """Say how far a run is."""
    return str(run.step) if not run.total else f"{run.step}/{run.total} ({int(100 * run.step / run.total)} %)"


def account(run: "RunStatus") -> str:
    """Say how a run ended, or what it is doing."""
    if run.condition == "killed":
        return "its process is gone"
    if run.condition != "running":
        return run.record.note
    phase = run.beat.phase if run.beat is not None else ""
    if run.silent is not None:
        return f"{phase or 'running'}, silent for {age(run.silent)}"
    return phase


def _checkpoint(run: "RunStatus") -> str:
    from milepost.run.index import seconds_since

    name, saved = run.last_checkpoint, run.record.last_checkpoint
    if name is None:
        return "" if saved is None else f"{saved.name} is gone"
    seconds = None if saved is None else seconds_since(saved.time)
    return name if seconds is None else f"{name}, {age(seconds)} ago"


def fields(run: "RunStatus") -> dict[str, Any]:
    """Collect all that is known of a run, for JSON."""
    from milepost.cli.show import finite
    from milepost.run.record import plain

    return {
        "path": str(run.path),
        "state": run.condition,
        "step": run.step,
        "total_steps": run.total,
        "why": run.record.note,
        "ended": run.ended,
        "last_checkpoint": run.last_checkpoint,
        "owner": None
        if run.owner is None
        else {"host": run.owner.host, "pid": run.owner.pid, "since": run.owner.since},
        "progress": None if run.beat is None else finite(run.beat.fields),
        "silent_seconds": run.silent,
        "record": plain(run.record),
    }


def shown_path(path: Path) -> str:
    """Write a path as it is shortest: from here, where it lies below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def age(seconds: float) -> str:
    """Write a time in its largest unit."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Write rows of equal keys as aligned columns under their names, without those that are empty."""
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    lines = [names, *([" ".join(row[name].split()) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    for line in lines:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
