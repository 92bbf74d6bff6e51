"""Find installed learners by their entry points in the group `milepost.learners`; needs no torch.

Any installed package can add one: the entry point names a `LearnerSpec`, whose options are read before anything heavy
is imported.
Failure: OptionsError where there is none of a name, or an entry point leads to something else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from milepost.errors import OptionsError
from milepost.model import Component
from milepost.options import OptionsModel
from milepost.options.expectation import did_you_mean

GROUP = "milepost.learners"


@dataclass(frozen=True)
class LearnerSpec:
    """Describe a learner: `build` locates its class, a `milepost.learning.Learner`; `version` is its state's.

    `predictor` is for learners whose `predictor` is not the model itself, so that files of theirs predict as they did:
    it locates a function `(model, options, state, objective, examples)` that makes the same of a saved state. Of
    `examples`, an `ExampleSet` that may be empty, it may use `collate` alone.
    """

    name: str
    version: int
    summary: str
    options: type[OptionsModel]
    build: Component
    predictor: Component | None = None


def find_learner(name: str) -> LearnerSpec:
    """Return the learner of this name. Raises OptionsError listing what is installed, with the nearest name."""
    points = _points()
    if name not in points:
        raise OptionsError(
            f"no learner '{name}' is installed: expected one of {', '.join(sorted(points))}, found '{name}'"
            f"{did_you_mean(name, points)}. Correct learner.name."
        )
    return _loaded(points[name])


def learners() -> Iterator[LearnerSpec]:
    """List all installed learners by name."""
    return (_loaded(point) for _, point in sorted(_points().items()))


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _loaded(point: EntryPoint) -> LearnerSpec:
    found = point.load()
    if not isinstance(found, LearnerSpec):
        raise OptionsError(
            f"the entry point '{point.name}' of group '{GROUP}' can't be used: expected a LearnerSpec at "
            f"'{point.value}', found {type(found).__name__}. Correct or remove the package that declares it."
        )
    return found
