"""Check a learner on small problems: in each call, and stopped and continued anywhere.

Failure: ConformanceError, naming the rule, the learner, the problem and the step.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from milepost.errors import UnsavableError
from milepost.learning.conformance.comparing import difference, grown
from milepost.learning.conformance.playing import Play
from milepost.learning.conformance.problems import Problem, classified, ragged, unknown
from milepost.learning.conformance.watching import Broken, Watcher
from milepost.learning.learner import Learner
from milepost.learning.objective import LEVELS
from milepost.learning.registry import LearnerSpec
from milepost.options import OptionsModel

CUTS = 10
"""Places in which a play is left and entered again; every place of one that has no more."""

FEW = 3
SMALL_BUFFER, LARGE_BUFFER, LARGE_MINIBATCH = 7, 1000, 64
"""Examples: hardly one of each class, more than there are, and more than a small buffer has."""


def check_learner(spec: LearnerSpec, **options: Any) -> None:
    """Check that a learner keeps every rule, with these options, on every kind of problem that it can be given.

    Where it has the options `buffer_size` and `minibatch_size`, small and large ones are tried too. It takes a second
    or two, and a temporary folder.

    Raises ConformanceError naming the rule, the learner, the problem and the step.
    """
    _check_options(spec, options)
    kind = spec.build.load()
    broken = Broken(spec.name, "none")
    if not (isinstance(kind, type) and issubclass(kind, Learner)):
        raise broken("it is a Learner", f"expected a class derived from Learner, found {kind!r}", "Derive it.")
    if kind.needs not in LEVELS:
        raise broken("it says what it needs", f"expected one of {LEVELS}, found {kind.needs!r}", "Correct `needs`.")
    able = LEVELS.index(kind.needs)
    for problem, changed, cuts in _cases(spec):
        if LEVELS.index(problem.gives) >= able:
            _Checks(spec, kind, {**options, **changed}, problem, cuts).all()


def _cases(spec: LearnerSpec) -> Iterator[tuple[Problem, dict[str, int], int]]:
    """List problems, options of unusual sizes, and in how many places to stop."""
    yield classified(), {}, CUTS
    yield ragged(), {}, 2 * FEW
    yield unknown(), {}, FEW
    yield classified(count=3, tasks=3), {}, FEW
    yield ragged(count=2, tasks=2), {}, FEW
    fields = spec.options.model_fields
    if "buffer_size" in fields:
        yield classified(), {"buffer_size": LARGE_BUFFER}, FEW
        large = {"minibatch_size": LARGE_MINIBATCH} if "minibatch_size" in fields else {}
        yield classified(), {"buffer_size": SMALL_BUFFER, **large}, FEW
        yield ragged(), {"buffer_size": SMALL_BUFFER, **large}, FEW


def _check_options(spec: LearnerSpec, options: Mapping[str, Any]) -> None:
    broken = Broken(spec.name, "none")
    rule = "its options forbid keys that they don't know"
    if not (isinstance(spec.options, type) and issubclass(spec.options, OptionsModel)):
        raise broken(rule, f"expected an OptionsModel, found {spec.options!r}", "Derive it from LearnerOptions.")
    with broken.working("options"):
        given = spec.options.model_validate({"name": spec.name, **options})
    try:
        spec.options.model_validate({**given.model_dump(), "no_such_option": 1})
    except ValueError:
        return
    raise broken(rule, "expected an error for 'no_such_option', found none", "Derive them from LearnerOptions.")


class _Checks:
    """Check one learner on one problem."""

    def __init__(
        self, spec: LearnerSpec, kind: type[Learner], options: Mapping[str, Any], problem: Problem, cuts: int
    ) -> None:
        self.spec, self.kind, self.problem, self.cuts = spec, kind, problem, cuts
        self.options = spec.options.model_validate({"name": spec.name, **options})
        self.broken = Broken(spec.name, _named(problem, options))

    def all(self) -> None:
        """Play with every call watched, saving on the way; then go on from every file."""
        with tempfile.TemporaryDirectory() as folder:
            first, saved = self._new(), dict[int, tuple[Path, dict[str, Any]]]()
            watcher, places = Watcher(first, self.broken), _spread(len(first.events), self.cuts)
            for number, event in enumerate(first.events):
                if number in places:
                    saved[number] = self._saved(first, Path(folder) / f"{number}.ckpt")
                watcher.happen(event)
            end = self._end(first)
            self._check_rebuilt(first, end["predictions"])
            self._check_again(first, Path(folder) / "end.ckpt")
            self.broken.where = "the beginning"
            self._compare(self._new(), end, "it does the same each time", "a second run")
            for turn, (number, (path, state)) in enumerate(saved.items()):
                self.broken.where = first.events[number]
                again = first if turn % FEW == 1 else self._new()
                self._restore(again, path, state)
                stopped = "a run that was stopped before it and continued"
                self._compare(again, end, "stopping changes nothing", stopped)

    def _check_again(self, ended: Play, path: Path) -> None:
        """Let the first task come once more, behind the last: as with `--loadcheck FILE --start-from 0`.

        Where examples differ in size, another choice of them is no sign of more.
        """
        with self.broken.working("state_dict"):
            ended.save(path)
        play = self._new()
        self._restore(play, path, ended.state())
        watcher, states = Watcher(play, self.broken), [play.state()["learner"]]
        for event in play.events:
            if event.task == 0:
                states += [play.state()["learner"]] if event.kind == "end_task" else []
                watcher.happen(replace(event, again=True))
        changed = grown(states, play.state()["learner"])
        if changed is not None and self.problem.even:
            rule, advice = "what was kept of a task is replaced when it ends again", "Let end_task drop it first."
            raise self.broken(rule, changed, advice)

    def _new(self) -> Play:
        with self.broken.working("__init__"):
            return Play(self.kind, self.options, self.problem, joint=self.kind.joint)

    def _saved(self, play: Play, path: Path) -> tuple[Path, dict[str, Any]]:
        self.broken.where = play.events[play.done]
        rule, advice = "its state can be saved", "Let state_dict return plain values and tensors."
        with self.broken.working("state_dict"):
            try:
                play.save(path)
            except UnsavableError as error:
                raise self.broken(rule, str(error), advice) from error
            return path, play.state()

    def _restore(self, play: Play, path: Path, state: dict[str, Any]) -> None:
        with self.broken.working("load_state_dict"):
            play.restore(path)
            changed = difference(state, play.state())
        if changed is not None:
            rule, advice = "a state that was loaded is the state that was saved", "Load everything, change nothing."
            raise self.broken(rule, changed, advice)

    def _compare(self, play: Play, end: dict[str, Any], rule: str, what: str) -> None:
        with self.broken.working("play"):
            play.play()
            found = self._end(play)
        changed = difference(end, found)
        if changed is not None:
            advice = "Put all that later calls depend on into state_dict, random generators included."
            raise self.broken(rule, f"expected the same bits from {what}; {changed}", advice)

    def _check_rebuilt(self, play: Play, predicted: list[Tensor]) -> None:
        """Let a saved state predict: it must do so as the learner does."""
        rule, place = "files predict as the learner does", self.spec.predictor
        if place is None and self.kind.predictor is not Learner.predictor:
            raise self.broken(rule, "expected a `predictor` in its LearnerSpec, found none", "Name the function there.")
        if place is None:
            return
        state, setting = play.state()["learner"], play.setting
        with self.broken.working("the function that its LearnerSpec names as predictor"):
            made = place.load()(play.model, self.options, state, setting.objective, setting.examples)
            changed = difference({"predictions": predicted}, {"predictions": play.predictions(made)})
        if changed is not None:
            raise self.broken(rule, f"from its saved state, {changed}", "Let both call one function.")

    def _end(self, play: Play) -> dict[str, Any]:
        predicted = play.predictions(play.learner.predictor(play.model))
        return {**play.state(), "predictions": predicted}


def _named(problem: Problem, options: Mapping[str, Any]) -> str:
    sizes = f"{len(problem.setting.examples)} examples, {len(problem.setting.tasks)} tasks"
    chosen = "".join(f", {name} {value}" for name, value in options.items())
    return f"{problem.name}: {sizes}{chosen}"


def _spread(count: int, wanted: int) -> list[int]:
    """Choose numbers below `count`, evenly, the first and the last among them."""
    if count <= wanted:
        return list(range(count))
    return sorted({round(i * (count - 1) / (wanted - 1)) for i in range(wanted)})
