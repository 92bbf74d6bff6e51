"""Play the training loop for a learner, without files, domains or options of a run.

`Player` walks through the events of a sequence of tasks in their order; it can be stopped before any of them, its state
be taken, and another player go on from there. It calls a learner as `milepost.run` does.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from milepost.learning.data import Batch, own
from milepost.learning.learner import Learner, Setting, StepLoss, Stretch, Taken
from milepost.learning.registry import find_learner


@dataclass(frozen=True)
class Event:
    """One call or step: what happens, in which task and stretch, and for a step in which epoch with which examples."""

    kind: Literal["begin_task", "begin_stretch", "step", "end_task"]
    task: int
    stretch: Stretch = field(default_factory=Stretch)
    epoch: int = 0
    indices: Tensor | None = None


def made(name: str, setting: Setting, **options: Any) -> Learner:
    """Make an installed learner from its options."""
    spec = _spec(name)
    return spec.build.load()(spec.options(name=name, **options), setting)


_spec = functools.cache(find_learner)  # it looks through all that is installed


def events(learner: Learner) -> Iterator[Event]:
    """List everything that happens, in order: a pure function of setting and options."""
    setting = learner.setting
    tasks = [torch.cat([task.training for task in setting.tasks])] if learner.joint else None
    for number in range(1 if learner.joint else len(setting.tasks)):
        training = setting.tasks[number].training if tasks is None else tasks[number]
        yield Event("begin_task", number)
        for position, stretch in enumerate(learner.stretches(number)):
            yield Event("begin_stretch", number, stretch)
            of = training if stretch.source == "task" else torch.arange(stretch.count)
            for epoch in range(setting.epochs if stretch.epochs is None else stretch.epochs):
                order = torch.Generator().manual_seed(setting.seed + 1000 * number + 100 * position + epoch)
                for part in of[torch.randperm(len(of), generator=order)].split(setting.batch_size):
                    yield Event("step", number, stretch, epoch, part)
        yield Event("end_task", number)


class Player:
    """Train a model with a learner: plain SGD, one batch a step."""

    def __init__(self, learner: Learner, model: nn.Module, learning_rate: float = 0.1) -> None:
        self.learner, self.model = learner, model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
        self.events = list(events(learner))
        self.at = 0
        self.losses: list[float] = []
        self.last: Batch = {}
        self.found: StepLoss | None = None

    def play(self, until: int | None = None) -> "Player":
        """Play the events before number `until`, or all that are left."""
        while self.at < (len(self.events) if until is None else until):
            event = self.events[self.at]
            self.at += 1
            if event.kind == "step":
                self._step(event)
            elif event.kind == "begin_stretch":
                self.learner.begin_stretch(event.task, event.stretch, self.model)
            else:
                getattr(self.learner, event.kind)(event.task, self.model)
        return self

    def again(self, task: int) -> "Player":
        """Play a task once more, as a run does that goes back to it."""
        self.events[self.at :] = [event for event in events(self.learner) if event.task == task]
        return self.play()

    def position(self, kind: str, occurrence: int = 0) -> int:
        """Return the number of an event, to play until it."""
        return [i for i, event in enumerate(self.events) if event.kind == kind][occurrence]

    def _step(self, event: Event) -> None:
        source = self.learner.stretch_examples(event.stretch)
        batch = source.batch(event.indices, event.epoch)
        kept: dict[str, Tensor] = {}
        if event.stretch.trains:
            batch = self.learner.draw(batch, self.model)
            found = self.found = self.learner.loss(self.model, batch)
            parameters = [p for p in self.model.parameters() if p.requires_grad]
            gradients = list(torch.autograd.grad(found.total, parameters, materialize_grads=True))
            corrected = self.learner.corrected(gradients, self.model, self._gradients_of)
            for parameter, gradient in zip(parameters, corrected, strict=True):
                parameter.grad = gradient
            self.optimizer.step()
            self.losses.append(float(found.total.detach()))
            kept = found.kept
        self.last = batch
        taken = Taken(event.task, event.stretch, event.indices, own(batch), kept)
        self.learner.stepped(taken, self.model)

    def _gradients_of(self, batch: Batch) -> list[Tensor]:
        total, _ = self.learner.objective.task_loss(self.model, batch)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return list(torch.autograd.grad(total, parameters, materialize_grads=True))

    def state(self) -> dict[str, Any]:
        """Return a copy of all that a checkpoint would hold."""
        parts = {"learner": self.learner, "model": self.model, "optimizer": self.optimizer}
        saved = {name: part.state_dict() for name, part in parts.items()}
        return copy.deepcopy({**saved, "at": self.at, "losses": self.losses})

    def resume(self, state: dict[str, Any]) -> "Player":
        """Take over a state."""
        state = copy.deepcopy(state)
        self.learner.load_state_dict(state["learner"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.at, self.losses = state["at"], state["losses"]
        return self


def check_stops(make: Callable[[], Player]) -> None:
    """Play every event in another process's place, going on from the saved state alone; AssertionError where it shows.

    No life lasts longer than one event: whatever is not saved is missing as soon as it is needed.
    """
    whole = make()
    resumed = make().resume(whole.state())
    assert len(whole.events) > 5
    for at, event in enumerate(whole.events):
        whole.play(at + 1)
        resumed = make().resume(resumed.state()).play(at + 1)
        assert same(resumed.state(), whole.state()), f"after event {at}: {event}"


def same(left: Any, right: Any) -> bool:
    """Tell whether two trees of values are the same, bit for bit."""
    if isinstance(left, Tensor):
        equal = isinstance(right, Tensor) and left.shape == right.shape and left.dtype == right.dtype
        return equal and left.contiguous().view(-1).numpy().tobytes() == right.contiguous().view(-1).numpy().tobytes()
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right
