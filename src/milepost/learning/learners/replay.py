"""Keep a sample of all examples that were seen, and bring some of it back at every step: what replay learners share."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from milepost.learning.buffers import Reservoir
from milepost.learning.data import Batch, Examples, own, put
from milepost.learning.data import taken as taken_out
from milepost.learning.learner import Learner, Setting, Taken


class Replay(Learner):
    """Fill a reservoir with the examples of every step, and put what is drawn from it into every batch.

    Examples are stored as they are and varied anew each time they come back. `places` names the minibatches of a step:
    each is a draw by itself.
    """

    places: ClassVar[tuple[str, ...]] = ("replay",)

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        self.buffer = Reservoir(options.buffer_size, setting.seed, setting.device)
        self.minibatch_size: int = options.minibatch_size or setting.batch_size
        self.drawn = 0

    def draw(self, batch: Batch, model: nn.Module) -> Batch:
        """Put minibatches of the buffer beside the batch, if the buffer has any example."""
        for place in self.places:
            batch = put(batch, self.recall(), place)
        return batch

    def batches(self, batch: Batch) -> list[Batch]:
        """Take apart what `draw` put together: the batch itself, then the minibatches; the batch alone at first."""
        return [part for part in (own(batch), *(taken_out(batch, place) for place in self.places)) if part]

    def recall(self) -> Batch:
        """Return a minibatch drawn without replacement; all examples where there are fewer, empty without any."""
        if not len(self.buffer):
            return {}
        self.drawn += 1
        return self.setting.examples.collate(self.buffer.draw(self.minibatch_size), self.drawn)

    def stepped(self, taken: Taken, model: nn.Module) -> None:
        """Offer the examples of the step to the buffer."""
        self.buffer.offer(len(taken.indices), lambda rows: self.worth_keeping(taken, rows))

    def worth_keeping(self, taken: Taken, rows: Tensor) -> Examples:
        """Return some of the examples of a step, those in rows [n], as they are stored."""
        return self.setting.examples.examples(taken.indices[rows])

    def state_dict(self) -> dict[str, Any]:
        """Return the buffer, and how often it was drawn from."""
        return {"buffer": self.buffer.state_dict(), "drawn": self.drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved buffer."""
        self.buffer.load_state_dict(state["buffer"])
        self.drawn = state["drawn"]


def mean_of_all(losses: list[Tensor], counts: Sequence[int | Tensor]) -> Tensor:
    """Return the mean over the examples of several batches, of which the mean of each is known: a scalar."""
    total = sum(counts[1:], counts[0])
    weighted = [loss * (count / total) for loss, count in zip(losses, counts, strict=True)]
    return sum(weighted[1:], weighted[0])
