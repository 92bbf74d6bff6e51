"""Show how a run gets on: a bar with the time left on a terminal, plain lines elsewhere.

Output goes to standard error, so that what a command prints can be piped. Nothing here is part of the training state.
"""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Reporter:
    """Report messages, steps and evaluations to a person."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console  # importing rich draws random numbers: not before a run is reported

        self.console = console or Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._started = 0.0
        self._first = 0
        self._total = 0

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        if self.console.is_terminal:
            self.console.print(message, markup=False)
        else:
            self.console.print(f"[{time.strftime('%H:%M:%S')}] {message}", markup=False, soft_wrap=True)

    def begin(self, step: int, total: int) -> "Reporter":
        """Start at a step of so many; use as a context."""
        self._first, self._total, self._started = step, total, time.monotonic()
        if self.console.is_terminal:
            from rich import progress

            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
            )
            self._progress = progress.Progress(*columns, console=self.console)
            self._bar = self._progress.add_task("training", total=total, completed=step)
        return self

    def __enter__(self) -> "Reporter":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def step(self, done: int) -> None:
        """Move the bar to the number of steps done."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=done)

    def line(self, done: int, loss: float, rate: float) -> None:
        """Print how far the run is where there is no bar to show it."""
        if self._progress is None:
            self.say(f"step {done}/{self._total}  loss {loss:.4g}  learning rate {rate:.3g}  [{self._left(done)} left]")

    def metrics(self, epoch: int, done: int, values: Mapping[str, float]) -> None:
        """Print the metrics of an evaluation, with the time left where there is no bar."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        left = "" if self._progress is not None else f"  [{self._left(done)} left]"
        self.say(f"epoch {epoch}  step {done}/{self._total}  {shown}{left}")

    def _left(self, done: int) -> str:
        """Estimate the time to the end from the speed since the start of this process."""
        fresh = max(1, done - self._first)
        seconds = round((time.monotonic() - self._started) / fresh * (self._total - done))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
