"""Train a small model with a learner, event by event, so that it can be left and entered anywhere.

What happens is what a run does: stochastic gradient descent, one batch a step, tasks and stretches as the learner plans
them.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.learning.conformance.problems import Problem
from milepost.learning.data import Batch
from milepost.learning.learner import Learner, Setting, StepLoss, Stretch, Taken
from milepost.learning.weights import gradients, trainable

LEARNING_RATE = 0.1
Call = Callable[[str, Callable[[], Any]], Any]
"""Makes a call of a learner's method, which it is told the name of."""


@dataclass(frozen=True)
class Event:
    """Describe one event: a method that is called, or a step on some examples.

    `again` tells that its task has ended before.
    """

    kind: Literal["begin_task", "begin_stretch", "step", "end_task"]
    task: int
    place: int = 0
    stretch: Stretch = field(default_factory=Stretch)
    epoch: int = 0
    number: int = 0
    indices: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    again: bool = False

    def __str__(self) -> str:
        task = f"task {self.task}{', learned again' if self.again else ''}"
        if self.kind == "step":
            return f"{task}, stretch {self.place}, epoch {self.epoch}, step {self.number}"
        return f"{task}, {self.kind}"


def planned(learner: Learner, setting: Setting) -> list[Event]:
    """List what is going to happen."""
    events: list[Event] = []
    for task, each in enumerate(setting.tasks):
        events.append(Event("begin_task", task))
        for place, stretch in enumerate(learner.stretches(task)):
            events.append(Event("begin_stretch", task, place, stretch))
            events += _steps(task, place, stretch, each.training, setting)
        events.append(Event("end_task", task))
    return events


def _steps(task: int, place: int, stretch: Stretch, training: Tensor, setting: Setting) -> list[Event]:
    numbers = training if stretch.source == "task" else torch.arange(stretch.count)
    steps: list[Event] = []
    for epoch in range(setting.epochs if stretch.epochs is None else stretch.epochs):
        source = torch.Generator().manual_seed(1000 * task + 100 * place + epoch)
        order = numbers[torch.randperm(len(numbers), generator=source)]
        for number, part in enumerate(order.split(setting.batch_size)):
            steps.append(Event("step", task, place, stretch, epoch, number, part))
    return steps


class Play:
    """Hold a learner, a model, an optimizer, and how many events there were."""

    def __init__(self, kind: Callable[[Any, Setting], Learner], options: Any, problem: Problem, *, joint: bool) -> None:
        self.setting = problem.for_learner(joint=joint)
        self.model = problem.model()
        self.learner = kind(options, self.setting)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE)
        self.events = planned(self.learner, self.setting)
        self.done = 0

    def play(self, until: int | None = None) -> None:
        """Play on until so many events are done; to the end without a number."""
        for event in self.events[self.done : until]:
            self.happen(event, lambda name, call: call())
            self.done += 1

    def happen(self, event: Event, call: Call) -> None:
        """Let one event happen; every method of the learner is called by `call`."""
        learner, model = self.learner, self.model
        if event.kind == "step":
            self._step(event, call)
        elif event.kind == "begin_stretch":
            call("begin_stretch", lambda: learner.begin_stretch(event.task, event.stretch, model))
        elif event.kind == "begin_task":
            call("begin_task", lambda: learner.begin_task(event.task, model))
        else:
            call("end_task", lambda: learner.end_task(event.task, model))

    def batch(self, event: Event, call: Call) -> Batch:
        """Make the batch of a step."""
        source = call("stretch_examples", lambda: self.learner.stretch_examples(event.stretch))
        return call("stretch_examples", lambda: source.batch(event.indices, event.epoch))

    def _step(self, event: Event, call: Call) -> None:
        learner, model = self.learner, self.model
        batch, kept = self.batch(event, call), dict[str, Tensor]()
        if event.stretch.trains:
            drawn = call("draw", lambda: learner.draw(dict(batch), model))
            found: StepLoss = call("loss", lambda: learner.loss(model, drawn))
            weights = trainable(model)
            wanted = gradients(found.total, weights)
            wanted = call("corrected", lambda: learner.corrected(wanted, model, self._gradients_of))
            for weight, gradient in zip(weights, wanted, strict=True):
                weight.grad = gradient.detach()
            self.optimizer.step()
            kept = {name: value.detach() for name, value in found.kept.items()}
        taken = Taken(event.task, event.stretch, event.indices, batch, kept)
        call("stepped", lambda: learner.stepped(taken, model))

    def _gradients_of(self, batch: Batch) -> list[Tensor]:
        total, _ = self.setting.objective.task_loss(self.model, batch)
        return gradients(total, trainable(self.model))

    def predictions(self, predictor: nn.Module) -> list[Tensor]:
        """Return what is predicted for all examples: outputs, or the loss where nothing else is known."""
        objective, examples = self.setting.objective, self.setting.examples
        batch = examples.batch(torch.arange(len(examples)))
        if objective.gives == "loss":
            return [objective.task_loss(predictor, batch)[0].detach()]
        return [value.detach() for value in objective.outputs(predictor, batch).values()]

    def state(self) -> dict[str, Any]:
        """Return a copy of all that changes."""
        parts = {"learner": self.learner.state_dict(), "model": self.model.state_dict()}
        return copy.deepcopy({**parts, "optimizer": self.optimizer.state_dict()})

    def save(self, path: Path) -> None:
        """Write a checkpoint of this moment."""
        state = {"learner": self.learner, "model": self.model, "optimizer": self.optimizer}
        save_checkpoint(path, {**state, "done": {"events": self.done}}, durability="process", overwrite=True)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint."""
        with load_checkpoint(path) as checkpoint:
            state: Any = {name: checkpoint.state(name) for name in ("learner", "model", "optimizer", "done")}
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.learner.load_state_dict(state["learner"])
        self.done = state["done"]["events"]
