"""Go back to an earlier checkpoint when a step diverges, and leave that step out: `on_nan: rollback`.

Promise: where a run goes back to, and what it leaves out, follow from the training state, the options and the
checkpoints that the intervals in the options ask for: those that a signal or a clock asked for don't count. A run that
is killed during a rollback takes up a state from before it or after it, diverges again or not, and ends with the bits
of one that was not killed.

Training is deterministic: going back alone would lead to the same weights at the same step. The first time, only the
step that diverged is left out: its examples may be at fault. Where the very next step diverges as well, the weights
are: then every step since the checkpoint is left out, which does take the run back to the weights of then. A checkpoint
from which no finite step was taken is not gone back to while there is another. Only as many are looked at as are kept
for this, so that what else a policy keeps, or a killed process did not come to remove, changes nothing.

Failure: DivergedError, as without a rollback, where there is no checkpoint to go back to, and after MOST_ROLLBACKS
without a checkpoint left behind in between.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from milepost.checkpoint import CatalogueEntry, describe_checkpoint, list_checkpoints, load_checkpoint
from milepost.errors import DivergedError
from milepost.learning import DataSet
from milepost.options import CheckpointsOptions
from milepost.run.course import Course
from milepost.run.session import TrainingState
from milepost.run.skipping import Skip, SkippedSteps

MOST_ROLLBACKS = 10
"""Rollbacks after which a run that reaches no checkpoint in between is given up: then neither examples nor a few steps
are at fault."""


@dataclass(frozen=True)
class Intervals:
    """Tell at which steps the options ask for a checkpoint, whatever happens; `epoch` tells how many passes are
    complete at a step.
    """

    options: CheckpointsOptions
    epoch: Callable[[int], int]

    def ask(self, step: int) -> bool:
        """Tell whether a checkpoint is due at a step."""
        return self.between(step, step)

    def between(self, first: int, last: int) -> bool:
        """Tell whether a checkpoint is due at a step from `first` to `last`; at each where only a clock asks for them,
        or nothing does. A run's beginning counts as one.
        """
        steps, epochs, before = self.options.every_steps, self.options.every_epochs, first - 1
        if last < first:
            return False
        if before < 0 or not (steps or epochs):
            return True
        by_steps = steps is not None and last // steps > before // steps
        return by_steps or (epochs is not None and self.epoch(last) // epochs > self.epoch(before) // epochs)


def kept_for(checkpoints: int) -> int:
    """Return how many are kept to go back so many: one more, as the step that diverged may have one of its own."""
    return checkpoints + 1


@dataclass(frozen=True)
class KeepForRollback:
    """Keep the furthest `count` checkpoints at the intervals of the options."""

    count: int
    intervals: Intervals

    def kept(self, entries: Sequence[CatalogueEntry]) -> frozenset[Path]:
        """Return the furthest of the sound entries that can be gone back to."""
        sound = [e for e in entries if e.record is not None and not e.damage and self.intervals.ask(e.step)]
        return frozenset(e.path for e in sorted(sound, key=lambda e: e.step)[max(len(sound) - self.count, 0) :])


@dataclass
class Rollback:
    """Take a training state back after a step that diverged.

    `wait` returns once every checkpoint is committed; `say` prints a line.
    """

    folder: Path
    run_id: str
    state: TrainingState
    course: Course
    examples: DataSet
    intervals: Intervals
    checkpoints: int
    wait: Callable[[], None]
    say: Callable[[str], None]

    def __call__(self, error: DivergedError) -> None:
        """Restore an earlier state, and leave out the step that the state is at; raises the error where it can't."""
        step, known = self.state.position.step, self.state.skipped.skips
        self.wait()
        if self._in_a_row(known, step) >= MOST_ROLLBACKS:
            raise self._given_up(known, error) from error
        target = self._target(step)
        if target is None:
            raise error
        indices = self.course.indices(step)
        again = bool(known) and known[-1].last == step - 1
        skip = Skip(target.step if again else step, step, target.step, tuple(indices.tolist()))
        with load_checkpoint(target.path) as checkpoint:
            self.state.restore(checkpoint)
        self.state.skipped = SkippedSteps((*known, skip))
        reason = str(error).partition("found ")[2].partition(".\n")[0] or "no finite loss"
        self.say(
            f"step {step} diverged ({reason}): going back to '{target.path.name}' and leaving out "
            f"{_steps(skip)}; the batch of step {step} held the examples {indices.tolist()}: "
            f"{self.examples.describe(indices)}"
        )

    def _target(self, step: int) -> CatalogueEntry | None:
        """Find the checkpoint to go back to, the furthest but so many; the earliest where there are fewer."""
        own = [e for e in list_checkpoints(self.folder) if e.run_id == self.run_id and e.step <= step]
        due = [entry for entry in reversed(own) if self.intervals.ask(entry.step)]
        kept = [entry for entry in islice(self._sound(due), kept_for(self.checkpoints)) if entry.step < step]
        good = [entry for entry in kept if entry.step not in self.state.skipped]
        found = good[: self.checkpoints] or kept
        return found[-1] if found else None

    def _sound(self, entries: Iterable[CatalogueEntry]) -> Iterator[CatalogueEntry]:
        """Read checkpoints whole, and give those that are sound."""
        for entry in entries:
            verified = describe_checkpoint(entry.path, verify=True)
            if verified is not None and verified.verified:
                yield verified
            else:
                damage = "; ".join(verified.damage) if verified else "it is gone"
                self.say(f"passed over damaged '{entry.path}': {damage}")

    def _in_a_row(self, known: Sequence[Skip], step: int) -> int:
        """Count the latest rollbacks between which no checkpoint was left behind."""
        row, later = 0, step
        for skip in reversed(known):
            if self.intervals.between(skip.last + 1, later - 1):
                break
            row, later = row + 1, skip.last
        return row

    def _given_up(self, known: Sequence[Skip], error: DivergedError) -> DivergedError:
        skipped = "\n".join(f"    {skip}, examples {list(skip.examples)}" for skip in known)
        return DivergedError(
            f"{error}\n  Going back did not help: {MOST_ROLLBACKS} times in a row no checkpoint was left behind. "
            f"What was left out:\n{skipped}"
        )


def _steps(skip: Skip) -> str:
    return "that step" if skip.first == skip.last else f"the steps {skip.first} to {skip.last}"


def stop(error: DivergedError) -> None:
    """Do not go back: `on_nan: stop`."""
    raise error
