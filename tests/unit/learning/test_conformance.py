"""Every installed learner keeps the rules of the contract, and each rule fires on a learner that breaks it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from milepost.errors import ConformanceError
from milepost.learning.conformance import check_learner
from milepost.learning.learner import Learner, Stretch
from milepost.learning.learners.finetune import Finetune
from milepost.learning.learners.options import BufferOptions, LearnerOptions
from milepost.learning.registry import LearnerSpec, learners
from milepost.model import Component
from milepost.options import OptionsModel

NAMES = ["agem", "der", "derpp", "er", "er-ace", "finetune", "gdumb", "gem", "icarl", "joint", "lwf", "oewc", "si"]
INSTALLED = {spec.name: spec for spec in learners()}
OPTIONS: dict[str, dict[str, Any]] = {
    "gdumb": {"fitting_epochs": 2},
    "icarl": {"wd_reg": 0.001},
    "oewc": {"gamma": 0.5},
}


def test_these_learners_are_installed() -> None:
    assert sorted(name for name, spec in INSTALLED.items() if spec.build.module.startswith("milepost.")) == NAMES


@pytest.mark.parametrize("name", sorted(INSTALLED))
def test_an_installed_learner_keeps_every_rule(name: str) -> None:
    sizes = {"buffer_size": 9} if "buffer_size" in INSTALLED[name].options.model_fields else {}
    check_learner(INSTALLED[name], **sizes, **OPTIONS.get(name, {}))


class Memory(Finetune):
    """A correct learner that remembers: it counts its steps, and the loss grows with them."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.steps = 0

    def draw(self, batch: Any, model: nn.Module) -> Any:
        return batch | {"memory/steps": torch.tensor(float(self.steps))}

    def loss(self, model: nn.Module, batch: Any) -> Any:
        found = super().loss(model, {name: value for name, value in batch.items() if "/" not in name})
        return found._replace(total=found.total * (1 + 0.1 * batch["memory/steps"]))

    def stepped(self, taken: Any, model: nn.Module) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = state["steps"]


class DrawsGlobally(Memory):
    def draw(self, batch: Any, model: nn.Module) -> Any:
        torch.rand(1)
        return super().draw(batch, model)


class RemembersGlobally(Memory):
    def end_task(self, task: int, model: nn.Module) -> None:
        np.random.random()


class MovesWeights(Memory):
    def stepped(self, taken: Any, model: nn.Module) -> None:
        super().stepped(taken, model)
        with torch.no_grad():
            next(model.parameters()).mul_(0.9)


class ChangesTheBatch(Memory):
    def draw(self, batch: Any, model: nn.Module) -> Any:
        return {name: value[:1] if name == "labels" else value for name, value in super().draw(batch, model).items()}


class PutsWithoutPrefix(Memory):
    def draw(self, batch: Any, model: nn.Module) -> Any:
        return super().draw(batch, model) | {"steps": torch.zeros(())}


class PutsNumbers(Memory):
    def draw(self, batch: Any, model: nn.Module) -> Any:
        return super().draw(batch, model) | {"memory/number": 1}


class DrawsNothing(Memory):
    def draw(self, batch: Any, model: nn.Module) -> Any:
        return list(batch)


class ReturnsAPair(Memory):
    def loss(self, model: nn.Module, batch: Any) -> Any:
        return super().loss(model, batch)[:2]


class ReturnsManyLosses(Memory):
    def loss(self, model: nn.Module, batch: Any) -> Any:
        found = super().loss(model, batch)
        return found._replace(total=found.total.repeat(2))


class ReturnsNaN(Memory):
    def loss(self, model: nn.Module, batch: Any) -> Any:
        found = super().loss(model, batch)
        return found._replace(parts={"ratio": found.total / 0 * 0})


class ChangesParts(Memory):
    def loss(self, model: nn.Module, batch: Any) -> Any:
        found = super().loss(model, batch)
        return found._replace(parts={"late": found.total}) if batch["memory/steps"] > 0 else found


class CountsCalls(Memory):
    def loss(self, model: nn.Module, batch: Any) -> Any:
        self.steps += 1
        return super().loss(model, batch)


class DependsOnCalls(Memory):
    calls = 0

    def loss(self, model: nn.Module, batch: Any) -> Any:
        self.calls += 1
        found = super().loss(model, batch)
        return found._replace(total=found.total + self.calls)


class HoldsTheModel(Memory):
    def begin_task(self, task: int, model: nn.Module) -> None:
        self.model = model

    def loss(self, model: nn.Module, batch: Any) -> Any:
        found = super().loss(model, batch)
        weights = [weight.detach() for weight in self.model.parameters()]
        return found._replace(total=found.total + sum(weight.square().sum() for weight in weights))


class EmptiesTheBatch(Memory):
    def loss(self, model: nn.Module, batch: Any) -> Any:
        found = super().loss(model, batch)
        batch.clear()
        return found


class LosesAGradient(Memory):
    def corrected(self, gradients: list[Tensor], model: nn.Module, gradients_of: Any) -> list[Tensor]:
        return gradients[1:]


class ChangesItsPlan(Memory):
    def stretches(self, task: int) -> tuple[Stretch, ...]:
        return (Stretch(),) * (1 + (self.steps > 3))


class PlansWithAnEffect(Memory):
    def stretches(self, task: int) -> tuple[Stretch, ...]:
        self.steps += 1
        return (Stretch(),)


class PredictsNothing(Memory):
    def predictor(self, model: nn.Module) -> Any:
        return model.forward


class CountsPredictions(Memory):
    def predictor(self, model: nn.Module) -> nn.Module:
        self.steps += 1
        return model


class PredictsOtherwise(Memory):
    """Predicts with half the outputs for every step it took."""

    needs = "classes"

    def predictor(self, model: nn.Module) -> nn.Module:
        return Halved(model, self.steps)


class Halved(nn.Module):
    def __init__(self, model: nn.Module, times: int) -> None:
        super().__init__()
        self.model, self.times = model, times

    def forward(self, inputs: Any) -> Any:
        return self.model(inputs) * 0.5**self.times


def halved(model: nn.Module, options: Any, state: Any, objective: Any, examples: Any) -> nn.Module:
    return Halved(model, state["steps"])


def unhalved(model: nn.Module, options: Any, state: Any, objective: Any, examples: Any) -> nn.Module:
    return model


class KeepsASet(Memory):
    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "seen": {self.steps}}


class Forgets(Memory):
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class LoadsTwice(Memory):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps += state["steps"]


class IsNeverTheSame(Memory):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.factor = float(np.random.default_rng().random())

    def draw(self, batch: Any, model: nn.Module) -> Any:
        return batch | {"memory/steps": torch.tensor(self.factor)}


class NeedsManyExamples(Memory):
    def end_task(self, task: int, model: nn.Module) -> None:
        if len(self.setting.tasks[task].training) < 2:
            raise ValueError("could not choose two of one")


class NeedsTooMuch(Memory):
    needs = "everything"  # type: ignore[assignment]


class OpenOptions(OptionsModel, extra="ignore"):
    name: str = "open"


class OverfullBuffer(Memory):
    """Draws as many examples as it is told to, also where the buffer has no more."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        if (options.minibatch_size or 0) > options.buffer_size:
            raise IndexError("no more examples")


class KeepsEveryEnd(Memory):
    """Keeps its steps at the end of each task, once more when a task ends again."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.ends: list[int] = []

    def end_task(self, task: int, model: nn.Module) -> None:
        self.ends.append(self.steps)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "ends": list(self.ends)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.ends = list(state["ends"])


class LosesAnEnd(KeepsEveryEnd):
    """Forgets what it kept of other tasks when one ends again."""

    def end_task(self, task: int, model: nn.Module) -> None:
        self.ends = self.ends[:1] if len(self.ends) > task else [*self.ends, self.steps]


class GoesForwardOnly(KeepsEveryEnd):
    def begin_task(self, task: int, model: nn.Module) -> None:
        if len(self.ends) > task:
            raise ValueError("it is learned already")


class KeepsTheNewest(KeepsEveryEnd):
    """A correct learner that keeps something of each task."""

    def end_task(self, task: int, model: nn.Module) -> None:
        self.ends[task:] = [self.steps, *self.ends[task + 1 :]]


BROKEN: dict[type[Learner], str] = {
    DrawsGlobally: "`draw` leaves the global random generators as they are, found a change in that of torch",
    RemembersGlobally: "`end_task` leaves the global random generators as they are, found a change in that of numpy",
    MovesWeights: "it leaves the weights alone.* at task 0, stretch 0, epoch 0, step 0: expected that `stepped`",
    ChangesTheBatch: r"the batch's own fields stay; labels: expected int64 \[4\], found int64 \[1\]",
    PutsWithoutPrefix: "expected names of the form 'prefix/name', found 'steps'",
    PutsNumbers: "'memory/number': expected a tensor, found int",
    DrawsNothing: "expected a dict, found list",
    ReturnsAPair: "expected StepLoss, found tuple",
    ReturnsManyLosses: "'total': expected a finite scalar, found",
    ReturnsNaN: "'ratio': expected a finite scalar, found nan",
    ChangesParts: r"the same names at every step.* step 1: expected \[\], found \['late'\]",
    CountsCalls: "pure function.*expected its state to stay; steps: expected 1, found 2",
    DependsOnCalls: "pure function.*expected the same from a second call; total: expected",
    HoldsTheModel: "pure function.*expected the same of other weights, given or put in",
    EmptiesTheBatch: "loss.*KeyError",
    LosesAGradient: "a gradient for each weight.* found",
    ChangesItsPlan: "stretches is a pure function.* task 0: expected",
    PlansWithAnEffect: "stretches is a pure function.*expected its state to stay; steps: expected",
    PredictsNothing: "expected a torch.nn.Module, found method",
    CountsPredictions: "expected the learner's state to stay; steps: expected",
    PredictsOtherwise: "files predict as the learner does.*expected a `predictor` in its LearnerSpec, found none",
    KeepsASet: "its state can be saved.* could not save 'learner.seen'",
    Forgets: "stopping changes nothing.*expected the same bits from a run that was stopped",
    LoadsTwice: "a state that was loaded is the state that was saved.*learner.steps: expected",
    IsNeverTheSame: "it does the same each time.*expected the same bits from a second run",
    NeedsManyExamples: "it works on any data.*3 examples, 3 tasks.* ValueError: could not choose two of one",
    KeepsEveryEnd: "replaced when it ends again.*task 0, learned again, end_task: all.ends: expected 3 .*, found 4 ent",
    LosesAnEnd: "replaced when it ends again.*task 0, learned again, end_task: all.ends: expected 3 .*, found 1 ent",
    GoesForwardOnly: "it works on any data.*task 0, learned again, begin_task: .*it is learned already",
    NeedsTooMuch: "expected one of .* found 'everything'",
    Finetune.__mro__[-1]: "expected a class derived from Learner, found <class 'object'>",
}


@dataclass(frozen=True)
class Here(Component):
    """Give a class of this file."""

    kind: Any = None

    def load(self) -> Any:
        return self.kind


def spec_of(kind: Any, options: type[OptionsModel] = LearnerOptions, predictor: Any = None) -> LearnerSpec:
    rebuilding = None if predictor is None else Here("nowhere", "nothing", predictor)
    return LearnerSpec("mine", 1, "for tests", options, Here("nowhere", "nothing", kind), rebuilding)


def test_the_learner_that_others_are_made_from_keeps_every_rule() -> None:
    check_learner(spec_of(Memory))


def test_what_a_task_leaves_may_be_kept_once() -> None:
    check_learner(spec_of(KeepsTheNewest))


@pytest.mark.parametrize(("kind", "message"), BROKEN.items(), ids=[kind.__name__ for kind in BROKEN])
def test_a_rule_that_is_broken_is_named(kind: Any, message: str) -> None:
    with pytest.raises(ConformanceError, match=f"(?s)^the learner 'mine' breaks the rule .*{message}"):
        check_learner(spec_of(kind))


def test_a_saved_state_must_predict_as_the_learner_does() -> None:
    check_learner(spec_of(PredictsOtherwise, predictor=halved))
    with pytest.raises(ConformanceError, match=r"from its saved state, predictions.*expected"):
        check_learner(spec_of(PredictsOtherwise, predictor=unhalved))


def test_options_that_take_unknown_keys_are_refused() -> None:
    with pytest.raises(ConformanceError, match="expected an error for 'no_such_option', found none"):
        check_learner(spec_of(Memory, OpenOptions))


def test_options_that_are_wrong_are_told_apart_from_rules_of_the_learner() -> None:
    with pytest.raises(ConformanceError, match=r"(?s)expected that `options` works, found ValidationError.*no_such"):
        check_learner(spec_of(Memory), no_such=1)


def test_a_minibatch_larger_than_the_buffer_is_tried() -> None:
    with pytest.raises(ConformanceError, match=r"buffer_size 7, minibatch_size 64.*IndexError: no more examples"):
        check_learner(spec_of(OverfullBuffer, BufferOptions))
