"""Decide the learning rate of every step.

All courses but "plateau" are pure functions of the step; "plateau" also looks at the metrics it is told. Every course
starts with a linear warm-up. "one_cycle" rises and falls by cosines (L. N. Smith, N. Topin, arXiv:1708.07120);
"cosine" falls by one (I. Loshchilov, F. Hutter, SGDR, ICLR 2017).
"""

import math
from typing import Any

from milepost.options import ScheduleOptions


class Schedule:
    """Give the factor of the learning rate for a step; `Stateful`, for the sake of "plateau"."""

    def __init__(self, options: ScheduleOptions, total_steps: int, steps_per_epoch: int) -> None:
        self.options = options
        self.fit(total_steps, steps_per_epoch)
        self._reduction = 1.0
        self._best: float | None = None
        self._waited = 0

    def fit(self, total_steps: int, steps_per_epoch: int) -> None:
        """Stretch the course over so many steps."""
        self.total = max(1, total_steps)
        self.steps_per_epoch = steps_per_epoch
        warmup = self.options.warmup_steps
        self.warmup = min(self.total, round(self.options.warmup_fraction * self.total) if warmup is None else warmup)

    def factor(self, step: int) -> float:
        """Return what the highest learning rate is multiplied by at a step, counted from 0."""
        options = self.options
        if step < self.warmup:
            rise = (step + 1) / self.warmup
            if options.name == "one_cycle":
                rise = 0.5 * (1 - math.cos(math.pi * rise))
            return options.initial_fraction + (1 - options.initial_fraction) * rise
        done = min(1.0, (step - self.warmup + 1) / max(1, self.total - self.warmup))
        final = options.final_fraction
        match options.name:
            case "cosine" | "one_cycle":
                return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))
            case "linear":
                return 1 - (1 - final) * done
            case "exponential":
                return final**done
            case "step":
                return options.factor ** (step // self.steps_per_epoch // options.every_epochs)
            case "plateau":
                return max(final, self._reduction)
            case "constant":
                return 1.0

    def evaluated(self, value: float) -> None:
        """Tell the schedule the monitored metric, of which lower is better; NaN never is."""
        if not math.isnan(value) and (self._best is None or value < self._best):
            self._best, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.options.patience:
            self._reduction *= self.options.factor
            self._waited = 0

    def begin_anew(self) -> None:
        """Forget what "plateau" took off, and what it has seen."""
        self._reduction, self._best, self._waited = 1.0, None, 0

    def forget_best(self) -> None:
        """Begin anew to look for a best value: what is monitored is another metric from now on."""
        self._best, self._waited = None, 0

    def state_dict(self) -> dict[str, Any]:
        """Return what the course depends on besides the step."""
        return {"reduction": self._reduction, "best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state."""
        self._reduction, self._best, self._waited = state["reduction"], state["best"], state["waited"]
