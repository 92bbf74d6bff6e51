"""`milepost watch`: follow a run from another terminal, or another machine that sees its files."""

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from milepost.cli.runs import account, progress, shown_path
from milepost.cli.statuses import FAILED, FINISHED, STOPPED
from milepost.cli.terminal import say, visible

if TYPE_CHECKING:
    from rich.console import Console

    from milepost.run.index import RunStatus

EVERY = 1.0
"""Seconds between two looks."""
LINES_EVERY = 10.0
"""Seconds between two lines where there is no bar, unless something new is to be said."""
STATUSES = {"running": FINISHED, "finished": FINISHED, "stopped": STOPPED, "failed": FAILED, "killed": FAILED}


@click.command("watch")
@click.argument("run", metavar="[RUN]", default=Path(), type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Print how the run stands and leave.")
def command(run: Path, once: bool) -> int:
    """Follow a run until it ends: its progress, its metrics, how it ended.

    RUN is the run's directory, or a folder as for `milepost runs`, of which the newest run is taken. Only files are
    read; the run notices nothing, also of Ctrl-C. The status is 0 when the run is finished (with --once, or running),
    75 when it was stopped and can be continued, 1 when it failed or was killed.
    """
    found = newest(run)
    if once:
        say(visible(line(found)))
        return STATUSES[found.condition]
    from rich.console import Console  # needed only here, and slow to import

    console = Console(highlight=False)
    last = _followed_with_a_bar(found, console) if console.is_terminal else _followed_in_lines(found)
    return STATUSES[last.condition]


def newest(folder: Path) -> "RunStatus":
    """Find the run that is meant. Raises OSError where the folder is not there, UsageError where it has none."""
    from milepost.run.index import list_runs, look

    folder.stat()
    found = look(folder)
    runs = list_runs([folder]) if found is None else [found]
    if not runs:
        raise click.UsageError(f"expected a run in or below '{folder}', found none. `milepost runs` lists runs.")
    return runs[-1]


def line(run: "RunStatus") -> str:
    """Say in one line how a run stands."""
    parts = [f"{shown_path(run.path)}: {run.condition}", f"step {progress(run)}"]
    if run.condition == "running" and run.beat is not None:
        parts += _figures(run)
    about = account(run)
    return "  ".join([*parts, about] if about else parts)


def _figures(run: "RunStatus") -> list[str]:
    from milepost.run.progress import duration

    beat = run.beat
    if beat is None:
        return []
    loss, rate, speed = (beat.number(name) for name in ("loss", "learning_rate", "steps_per_second"))
    left = beat.number("seconds_left")
    found = [] if loss is None else [f"loss {loss:.4g}"]
    found += [] if rate is None else [f"learning rate {rate:.3g}"]
    found += [] if speed is None else [f"{speed:.3g} steps/s"]
    return found + ([] if left is None else [f"[{duration(left)} left]"])


class Follower:
    """Look at a run again and again. It ends when the run has, seen twice: files of another machine come late."""

    def __init__(self, first: "RunStatus") -> None:
        self.run = first
        self._ended = 0
        self._metrics: dict[str, float] = {}
        self._sign: object = None
        self._heard = time.monotonic()

    def over(self) -> bool:
        """Tell whether the run has ended."""
        surely = 2 if self.run.condition == "killed" else 1
        return self._ended >= surely

    def look(self) -> None:
        """Read the files once more. The last look is kept where they can't be read: a share may come back."""
        from dataclasses import replace

        from milepost.run.index import SILENT, look

        with suppress(OSError):
            self.run = look(self.run.path) or self.run
        sign = None if self.run.beat is None else (self.run.beat.written, self.run.beat.fields)
        now = time.monotonic()
        if self._sign is not None and sign != self._sign:
            # From here on this process's own clock tells the silence: that of the files may be another one.
            self._heard = now
            self.run = replace(self.run, silent=None)
        elif self.run.silent is None and now - self._heard > SILENT and self.run.condition == "running":
            self.run = replace(self.run, silent=now - self._heard)
        self._sign = sign
        self._ended = self._ended + 1 if self.run.condition != "running" else 0

    def new_metrics(self) -> str | None:
        """Return the latest metrics where they are new."""
        from milepost.run.index import last_metrics

        found = last_metrics(self.run.path / "metrics.csv")
        if not found or found == self._metrics:
            return None
        self._metrics = found
        whole = ("step", "epoch")
        return "  ".join(f"{name} {int(value) if name in whole else f'{value:.4g}'}" for name, value in found.items())


def _followed_in_lines(first: "RunStatus") -> "RunStatus":
    """Print a line when there is something new, and one in a while."""
    follower, said, due = Follower(first), "", 0.0
    while True:
        follower.look()
        metrics = follower.new_metrics()
        if metrics is not None:
            say(visible(metrics))
        now = time.monotonic()
        key = f"{follower.run.condition} {follower.run.silent is None}"
        if follower.over() or key != said or now >= due:
            say(visible(line(follower.run)))
            said, due = key, now + LINES_EVERY
        if follower.over():
            return follower.run
        time.sleep(EVERY)


def _followed_with_a_bar(first: "RunStatus", console: "Console") -> "RunStatus":
    """Show a bar until the run ends or somebody interrupts; the terminal is as before in either case."""
    from rich import progress as bars

    follower = Follower(first)
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[figures]}", markup=False),
    )
    with bars.Progress(*columns, console=console, transient=True) as shown:
        bar = shown.add_task("", total=None, figures="")
        while True:
            follower.look()
            metrics = follower.new_metrics()
            if metrics is not None:
                console.print(visible(metrics), markup=False)
            run = follower.run
            shown.update(
                bar,
                total=run.total,
                completed=run.step,
                description=visible(account(run) or run.condition),
                figures=visible("  ".join(_figures(run))),
            )
            if follower.over():
                break
            time.sleep(EVERY)
    say(visible(line(follower.run)))
    return follower.run
