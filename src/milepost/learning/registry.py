"""Find installed learners by their entry points in the group `milepost.learners`; needs no torch.

Any installed package can add one: the entry point names a `LearnerSpec`, whose options are read before anything heavy
is imported.
Promise: what a learner remembered under an earlier version is read under today's, because `LearnerSpec.upgrade` carries
plain data (options and state) step by step. A newer version is refused with what to install.
Failure: OptionsError where there is none of a name, or an entry point leads to something else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from milepost.errors import ArchiveError, OptionsError, UnsupportedVersionError
from milepost.model import Component, Upgrade
from milepost.options import OptionsModel
from milepost.options.expectation import did_you_mean

GROUP = "milepost.learners"

# What a step raises that meets something else than its version promises.
_SURPRISES = (ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError)


@dataclass(frozen=True)
class LearnerSpec:
    """Describe a learner: `build` locates its class, a `milepost.learning.Learner`; `version` is that of its options
    and of what its `state_dict` returns.

    `upgrades[v]` leads from version v to v + 1, so that there is one for every version before `version`: a function of
    plain data, (options, state) → the same, one version on. It may take apart what it is given.

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
    upgrades: Mapping[int, Upgrade] = field(default_factory=dict[int, Upgrade])

    def __post_init__(self) -> None:
        expected = set(range(1, self.version))
        if set(self.upgrades) != expected:
            raise ValueError(
                f"learner '{self.name}' can't read its older states: expected upgrade steps from the versions "
                f"{sorted(expected)}, found {sorted(self.upgrades)}. Add the missing steps."
            )

    @property
    def version_key(self) -> str:
        """Name under which a checkpoint's record has the version."""
        return f"learner {self.name}"

    def upgrade(
        self,
        version: int,
        options: dict[str, Any],
        state: dict[str, Any],
        *,
        to_install: str = "install a newer milepost",
        where: object = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Carry saved options, and a saved state, from their version to today's; `where` is the file, for messages.

        Raises UnsupportedVersionError, with what is `to_install`, for a version that is newer than this installation
        knows, ArchiveError where they are not what their version says.
        """
        what = f"what the learner '{self.name}' remembers" + ("" if where is None else f" in '{where}'")
        if not 1 <= version <= self.version:
            raise UnsupportedVersionError(
                f"could not read {what}: expected version 1 to {self.version}, found {version}: {to_install}."
            )
        for step in range(version, self.version):
            try:
                options, state = self.upgrades[step](options, state)
            except _SURPRISES as error:
                raise ArchiveError(
                    f"could not carry {what} from version {step} to {step + 1}: {type(error).__name__}: {error}. "
                    "Use another file of the run."
                ) from error
        return options, state


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
    try:
        found = point.load()
    except Exception as error:  # whatever a package of somebody else does when it is imported
        raise OptionsError(
            f"could not load the learner '{point.name}' from '{point.value}': {type(error).__name__}: {error}. "
            "Correct or remove the package that declares it."
        ) from error
    if not isinstance(found, LearnerSpec):
        raise OptionsError(
            f"the entry point '{point.name}' of group '{GROUP}' can't be used: expected a LearnerSpec at "
            f"'{point.value}', found {type(found).__name__}. Correct or remove the package that declares it."
        )
    return found
