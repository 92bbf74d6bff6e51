"""Watch a learner through every call, and tell the rule that a call breaks.

Rules that are seen in a single call are found here; those of leaving and going on are in `checking`.
"""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from milepost.errors import ConformanceError
from milepost.learning.conformance.comparing import difference
from milepost.learning.conformance.playing import Event, Play
from milepost.learning.data import Batch
from milepost.learning.learner import StepLoss
from milepost.learning.weights import gradients, trainable

MAY_MOVE_WEIGHTS = ("begin_task", "begin_stretch", "end_task")
NUDGE = 0.01
"""How far weights are moved to see whether a loss depends on those that it is given."""


class Broken:
    """Make the error that names rule, learner, problem and place."""

    def __init__(self, learner: str, problem: str) -> None:
        self.learner, self.problem = learner, problem
        self.where: Event | str = "the beginning"

    def __call__(self, rule: str, what: str, advice: str) -> ConformanceError:
        """Return the error: the rule, what is wrong, and what to do."""
        return ConformanceError(
            f"the learner '{self.learner}' breaks the rule \"{rule}\" on the problem '{self.problem}' at {self.where}: "
            f"{what}. {advice}"
        )

    @contextmanager
    def working(self, name: str) -> Iterator[None]:
        """Turn any error in a call into one of the rules'."""
        try:
            yield
        except ConformanceError:
            raise
        except Exception as error:
            found = f"expected that `{name}` works, found {type(error).__name__}: {error}"
            raise self("it works on any data", found, "Correct it; the error below says where.") from error


class Watcher:
    """Play with every call watched."""

    def __init__(self, play: Play, broken: Broken) -> None:
        self.play, self.broken = play, broken
        self._parts: list[str] | None = None

    def happen(self, event: Event) -> None:
        """Let one event happen, and check its calls."""
        self.broken.where = event
        self.play.happen(event, self._called)
        self.play.done += 1
        self._check_plan()
        if event.kind == "end_task":
            self._check_predictor()

    def _called(self, name: str, call: Callable[[], Any]) -> Any:
        """Make a call, and find what it should have left alone; `draw` and `loss` are looked at closer."""
        before, weights = global_random(), copy.deepcopy(self.play.model.state_dict())
        batch = None if name != "draw" else self._batch()
        with self.broken.working(name):
            found = call()
        self._check_random(name, before)
        if name not in MAY_MOVE_WEIGHTS:
            self._check_weights(name, weights)
        if batch is not None:
            self._check_drawn(batch, found)
            self._drawn: Batch = found
        if name == "loss":
            self._check_form(found)
            self._check_pure(found)
        if name == "corrected":
            self._check_gradients(found)
        return found

    def _batch(self) -> Batch:
        event = self.broken.where
        return self.play.batch(event, lambda name, call: call()) if isinstance(event, Event) else {}

    def _check_random(self, name: str, before: dict[str, Any]) -> None:
        now = global_random()
        drawn = [generator for generator, state in before.items() if state != now[generator]]
        if drawn:
            raise self.broken(
                "it draws random numbers from generators of its own",
                f"expected that `{name}` leaves the global random generators as they are, found a change in that of "
                f"{', '.join(drawn)}",
                "Use milepost.learning.draws.Draws, and put its state into state_dict.",
            )

    def _check_weights(self, name: str, before: Any) -> None:
        changed = difference(before, self.play.model.state_dict())
        if changed is not None:
            raise self.broken(
                "it leaves the weights alone",
                f"expected that `{name}` leaves the model as it is; {changed}",
                f"Change weights in {', '.join(MAY_MOVE_WEIGHTS)} alone.",
            )

    def _check_drawn(self, batch: Batch, drawn: Any) -> None:
        rule, advice = "draw adds tensors", "Return milepost.learning.data.put(batch, …, prefix)."
        if not isinstance(drawn, dict):
            raise self.broken(rule, f"expected a dict, found {type(drawn).__name__}", advice)
        kept = {name: drawn[name] for name in batch if name in drawn}
        changed = difference(batch, kept)
        if changed is not None:
            raise self.broken(rule, f"expected that the batch's own fields stay; {changed}", advice)
        for name, value in drawn.items():
            if name not in batch and "/" not in name:
                raise self.broken(rule, f"expected names of the form 'prefix/name', found '{name}'", advice)
            if not isinstance(value, Tensor):
                raise self.broken(rule, f"'{name}': expected a tensor, found {type(value).__name__}", advice)

    def _check_form(self, found: Any) -> None:
        rule, advice = "loss returns a StepLoss", "See milepost.learning.StepLoss."
        if not isinstance(found, StepLoss):
            raise self.broken(rule, f"expected StepLoss, found {type(found).__name__}", advice)
        for name, value in {"total": found.total, **found.parts}.items():
            if value.dim() or not bool(value.isfinite()):
                raise self.broken(rule, f"'{name}': expected a finite scalar, found {value.tolist()}", advice)
        if self._parts not in (None, list(found.parts)):
            raise self.broken(
                "the parts of a loss have the same names at every step",
                f"expected {self._parts}, found {list(found.parts)}",
                "Give a part that is not there yet as zero.",
            )
        self._parts = list(found.parts)

    def _check_pure(self, found: StepLoss) -> None:
        """Compute the loss again, and with weights that are put in from outside."""
        play, rule = self.play, "loss is a pure function of weights and batch"
        before, drawn = copy.deepcopy(play.learner.state_dict()), dict(self._drawn)
        with self.broken.working("loss"):
            again = play.learner.loss(play.model, dict(drawn))
        for what, changed in (
            ("the same from a second call", difference(_numbers(found), _numbers(again))),
            ("its state to stay", difference(before, play.learner.state_dict())),
            ("the batch to stay", difference(drawn, self._drawn)),
            ("the same of other weights, given or put in", self._difference_elsewhere()),
        ):
            if changed is not None:
                advice = "Compute it from the model and the batch alone; bring what else it needs in by `draw`."
                raise self.broken(rule, f"expected {what}; {changed}", advice)

    def _difference_elsewhere(self) -> str | None:
        learner, model = self.play.learner, self.play.model
        moved = {name: p.detach() + NUDGE if p.is_floating_point() else p for name, p in model.named_parameters()}
        elsewhere = copy.deepcopy(model)
        elsewhere.load_state_dict({**model.state_dict(), **moved})
        put_in = {name: value.clone().requires_grad_() for name, value in moved.items()}
        with self.broken.working("loss"):
            given = learner.loss(elsewhere, dict(self._drawn))
            wanted = gradients(given.total, trainable(elsewhere))
            bound = _Bound(model, lambda inner: learner.loss(inner, dict(self._drawn)))
            stepped: StepLoss = functional_call(bound, {f"model.{name}": v for name, v in put_in.items()}, ())
            names = [name for name, p in model.named_parameters() if p.requires_grad]
            found = gradients(stepped.total, [put_in[name] for name in names])
        return difference([_numbers(given), wanted], [_numbers(stepped), found])

    def _check_gradients(self, found: Any) -> None:
        wanted = [list(weight.shape) for weight in trainable(self.play.model)]
        shapes = [list(gradient.shape) for gradient in found]
        if shapes != wanted:
            raise self.broken(
                "corrected returns a gradient for each weight",
                f"expected the shapes {wanted}, found {shapes}",
                "Return as many gradients as there were, in their order.",
            )

    def _check_plan(self) -> None:
        """Ask for the stretches of every task: the same answer at any time."""
        learner, events = self.play.learner, self.play.events
        before = copy.deepcopy(learner.state_dict())
        rule, advice = "stretches is a pure function of options and sizes", "Let it depend on nothing that changes."
        for task in range(len(self.play.setting.tasks)):
            wanted = [e.stretch for e in events if e.task == task and e.kind == "begin_stretch"]
            found = list(learner.stretches(task))
            if found != wanted:
                raise self.broken(rule, f"task {task}: expected {wanted} as at first, found {found}", advice)
        changed = difference(before, learner.state_dict())
        if changed is not None:
            raise self.broken(rule, f"expected its state to stay; {changed}", advice)

    def _check_predictor(self) -> None:
        learner = self.play.learner
        before = copy.deepcopy(learner.state_dict())
        predictor = self._called("predictor", lambda: learner.predictor(self.play.model))
        rule, advice = "predictor returns a model", "Return a torch.nn.Module that is called like the model."
        if not isinstance(predictor, nn.Module):
            raise self.broken(rule, f"expected a torch.nn.Module, found {type(predictor).__name__}", advice)
        self._called("predictor", lambda: self.play.predictions(predictor))
        changed = difference(before, learner.state_dict())
        if changed is not None:
            raise self.broken(rule, f"expected the learner's state to stay; {changed}", advice)


def global_random() -> dict[str, Any]:
    """Return the states of the generators that a process shares."""
    kind, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    numbers = (kind, np.asarray(words).tobytes(), *rest)
    return {"python": random.getstate(), "numpy": numbers, "torch": torch.get_rng_state().numpy().tobytes()}


class _Bound(nn.Module):
    """Give a function of a model the form of a module, so that the weights can be put in."""

    def __init__(self, model: nn.Module, function: Callable[[nn.Module], StepLoss]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self) -> StepLoss:
        return self.function(self.model)


def _numbers(found: StepLoss) -> dict[str, Any]:
    return {"total": found.total.detach(), "parts": dict(found.parts), "kept": dict(found.kept)}
