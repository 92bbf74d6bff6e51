"""Choose examples that stand for their class, and classify by them.

S.-A. Rebuffi, A. Kolesnikov, G. Sperl, C. H. Lampert, iCaRL: incremental classifier and representation learning, CVPR
2017. All features, and means of them, are vectors of length one.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milepost.learning.data import Examples
from milepost.learning.stores import Store

UNSEEN = -5.0
"""Score of a class without exemplars: that of a point farther away than two vectors of length one can be."""


class Exemplars:
    """Hold examples class by class, best first; `Stateful`."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        self._store = Store(capacity, device)
        self._counts: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._store)

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels that there are exemplars of, in the order in which they were kept."""
        return tuple(self._counts)

    def get(self, slots: Tensor) -> Examples:
        """Return the examples in slots [n]."""
        return self._store.get(slots)

    def of_each(self) -> Iterator[tuple[int, Examples]]:
        """Go through the labels, each with its exemplars."""
        for label, slots in self._slots().items():
            yield label, self._store.get(slots)

    def keep(self, label: int, examples: Examples, count: int) -> None:
        """Keep `count` exemplars of a label, in the place of those that there are of it."""
        self.drop([label])
        if count:
            self._store.put(torch.arange(len(self), len(self) + count), examples)
            self._counts[label] = count

    def reduce(self, most: int) -> None:
        """Keep the first so many exemplars of each label (algorithm 5)."""
        self._keep_only({label: slots[:most] for label, slots in self._slots().items()})

    def drop(self, labels: Iterable[int]) -> None:
        """Forget all exemplars of some labels, if there are any."""
        dropped = set(labels)
        if dropped.intersection(self._counts):
            self._keep_only({label: slots for label, slots in self._slots().items() if label not in dropped})

    def _keep_only(self, kept: dict[int, Tensor]) -> None:
        slots = torch.cat([*kept.values(), torch.empty(0, dtype=torch.long)])
        examples = self._store.get(slots)
        self._store.clear()
        self._store.put(torch.arange(len(slots)), examples)
        self._counts = {label: len(slots) for label, slots in kept.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the examples, and how many each label has."""
        return {"content": self._store.state_dict(), "counts": [list(pair) for pair in self._counts.items()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved exemplars."""
        self._store.load_state_dict(state["content"])
        self._counts = dict(state["counts"])

    def _slots(self) -> dict[int, Tensor]:
        ends = torch.tensor([0, *self._counts.values()]).cumsum(0).tolist()
        return {label: torch.arange(a, b) for label, a, b in zip(self._counts, ends, ends[1:], strict=False)}


def herded(features: Tensor, count: int) -> Tensor:
    """Return the numbers of the examples whose mean features come nearest to the class's, best first: [count].

    Algorithm 4: exemplar k is argmin_x ‖μ - (φ(x) + Σ_{j<k} φ(p_j)) / k‖, for φ of length one the largest product with
    k μ - Σ φ(p_j). No example is chosen twice. `features` is [examples, features].
    """
    mean = F.normalize(features.mean(0), dim=0)
    chosen: list[Tensor] = []
    missing, taken = mean.clone(), torch.zeros(len(features), dtype=torch.bool, device=features.device)
    for _ in range(min(count, len(features))):
        best = (features @ missing).masked_fill(taken, -torch.inf).argmax()
        chosen.append(best)
        taken[best] = True
        missing += mean - features[best]
    return torch.stack(chosen) if chosen else torch.empty(0, dtype=torch.long, device=features.device)


class NearestMean(nn.Module):
    """Classify by the nearest mean of exemplars (algorithm 1), with scores -‖φ(x) - μ_y‖² [examples, classes].

    `means` is [classes, features], each of length one, or zero for a class that was not seen yet.
    """

    means: Tensor
    offsets: Tensor

    def __init__(self, model: nn.Module, objective: Any, means: Tensor) -> None:
        super().__init__()
        self.model, self.objective = model, objective
        seen = means.any(1)
        self.register_buffer("means", means)
        self.register_buffer("offsets", torch.where(seen, -2.0, UNSEEN).to(means))
        self.train(model.training)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores; of vectors of length one, the squared distance is 2 - 2 φ(x)·μ_y."""
        features = F.normalize(self.objective.features(self.model, {"inputs": inputs}), dim=1)
        return 2 * features @ self.means.T + self.offsets
