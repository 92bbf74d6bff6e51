"""Show how a run gets on: a bar with the time left on a terminal, plain lines elsewhere.

Output goes to standard error, so that what a command prints can be piped. Nothing here is part of the training state.
"""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Pace:
    """Measure the speed of this process, whatever others did before it.

    The first step is left out: it waits for the compiler, the caches and the first batch.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._from, self._since, self._total = 0, clock(), 0
        self._warm = False

    def begin(self, step: int, total: int) -> None:
        """Start at a step of so many."""
        self._from, self._total, self._since, self._warm = step, total, self._clock(), False

    def step(self, done: int) -> None:
        """Count a step; only the first one of a process matters."""
        if not self._warm:
            self._from, self._since, self._warm = done, self._clock(), True

    def speed(self, done: int) -> float | None:
        """Return the steps per second; None before there is one to measure."""
        seconds = self._clock() - self._since
        return (done - self._from) / seconds if done > self._from and seconds > 0 else None

    def seconds_left(self, done: int) -> float | None:
        """Return the seconds to the end at this speed; None before there is one."""
        speed = self.speed(done)
        return None if speed is None else max(0, self._total - done) / speed


def duration(seconds: float | None) -> str:
    """Write a time as hours, minutes and seconds."""
    if seconds is None:
        return "-:--:--"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Reporter:
    """Report messages, steps and evaluations to a person."""

    def __init__(self, console: "Console | None" = None) -> None:
        from rich.console import Console  # importing rich draws random numbers: not before a run is reported

        self.console = console or Console(stderr=True, highlight=False)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._pace = Pace()
        self._total = 0

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        if self.console.is_terminal:
            self.console.print(message, markup=False)
        else:
            self.console.print(f"[{time.strftime('%H:%M:%S')}] {message}", markup=False, soft_wrap=True)

    def begin(self, step: int, total: int) -> "Reporter":
        """Start at a step of so many; use as a context."""
        self._total = total
        self._pace.begin(step, total)
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
        self._pace.step(done)
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=done)

    def line(self, done: int, loss: float, rate: float) -> None:
        """Print how far the run is where there is no bar to show it."""
        if self._progress is None:
            self.say(f"step {done}/{self._total}  loss {loss:.4g}  learning rate {rate:.3g}{self._left(done)}")

    def metrics(self, epoch: int, done: int, values: Mapping[str, float]) -> None:
        """Print the metrics of an evaluation, with the time left where there is no bar."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        left = "" if self._progress is not None else self._left(done)
        self.say(f"epoch {epoch}  step {done}/{self._total}  {shown}{left}")

    def _left(self, done: int) -> str:
        return f"  [{duration(self._pace.seconds_left(done))} left]"
