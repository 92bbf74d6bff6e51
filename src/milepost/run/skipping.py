"""Remember the steps that a run left out because they diverged, in every checkpoint from then on.

Promise: what is left out is part of the training state, so a run that is killed at any moment leaves out the same
steps as one that is not.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Skip:
    """Say which steps were left out, from which checkpoint the run went on, and what the last step's batch held."""

    first: int
    last: int
    back_to: int
    examples: tuple[int, ...]

    def __str__(self) -> str:
        steps = f"step {self.first}" if self.first == self.last else f"steps {self.first} to {self.last}"
        return f"{steps} (went back to step {self.back_to})"


class SkippedSteps:
    """List what was skipped, oldest first; `Stateful`. A step that is `in` it is passed over."""

    def __init__(self, skips: Sequence[Skip] = ()) -> None:
        self.skips = tuple(skips)

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int) and any(skip.first <= step <= skip.last for skip in self.skips)

    def state_dict(self) -> dict[str, Any]:
        """Return what was skipped, as plain values."""
        return {"skips": [asdict(skip) | {"examples": list(skip.examples)} for skip in self.skips]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what was skipped."""
        self.skips = tuple(Skip(**{**skip, "examples": tuple(skip["examples"])}) for skip in state["skips"])
