"""Incremental classifier and representation learning, iCaRL: nearest mean of kept exemplars.

S.-A. Rebuffi, A. Kolesnikov, G. Sperl, C. H. Lampert, iCaRL: incremental classifier and representation learning, CVPR
2017. A step minimises the loss of algorithm 3 over the batch and a minibatch of exemplars: with sigmoid outputs g_y,
new classes s … t, and the outputs q of the model as it was before the task,

    - Σ_(x, y') [ Σ_{y=s..t} δ_{y=y'} log g_y + δ_{y≠y'} log(1 - g_y)  +  Σ_{y<s} q_y log g_y + (1 - q_y) log(1 - g_y) ]

The sums are means here, as in the experiments of Buzzega et al. (NeurIPS 2020), and the squared weights are added,
`wd_reg` times. After a task each of the t classes keeps its first K / t exemplars (algorithms 4 and 5), and predictions
are made by the nearest mean (algorithm 1); a class of the task at hand is first predicted when the task has ended.
Where a task is learned again, its classes are the new ones, and all others that there are exemplars of are old; when it
ends, its exemplars take the place of those before.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from milepost.errors import OptionsError
from milepost.learning.data import Batch, ExampleSet, own, put
from milepost.learning.data import taken as taken_out
from milepost.learning.draws import Draws
from milepost.learning.exemplars import Exemplars, NearestMean, herded
from milepost.learning.learner import Learner, Setting, StepLoss
from milepost.learning.objective import Level
from milepost.learning.teachers import Teacher
from milepost.learning.weights import as_evaluated

AT_ONCE = 500
"""Examples whose features are computed together."""


class ICaRL(Learner):
    """Learn features by distillation, classify by exemplars.

    Raises OptionsError where tasks don't bring classes of their own, or the buffer has no place for an example of each.
    """

    needs: ClassVar[Level] = "classes"

    def __init__(self, options: Any, setting: Setting) -> None:
        super().__init__(options, setting)
        _check_classes(options, setting)
        self.minibatch_size: int = options.minibatch_size or setting.batch_size
        self.exemplars = Exemplars(options.buffer_size, setting.device)
        self.draws = Draws(setting.seed, "icarl replay")
        self.teacher = Teacher(setting.device)
        self.task = self.drawn = 0

    def begin_task(self, task: int, model: nn.Module) -> None:
        """Note which task is at hand."""
        self.task = task

    def draw(self, batch: Batch, model: nn.Module) -> Batch:
        """Put exemplars beside the batch, the classes before and with this task, and the teacher's outputs for all."""
        device, new = self.setting.device, self.setting.tasks[self.task].classes
        old = torch.tensor(self._old(), dtype=torch.long, device=device)
        told = {"seen": torch.cat([old, torch.tensor(new, dtype=torch.long, device=device)])}
        if not self.teacher:
            return put(batch, told, "classes")
        self.drawn += 1
        slots = self.draws.choice(len(self.exemplars), min(self.minibatch_size, len(self.exemplars)))
        replayed = self.setting.examples.collate(self.exemplars.get(slots), self.drawn)
        with torch.no_grad():
            outputs = self.objective.outputs_of_each(self.teacher.module(model), [batch, replayed], as_one=True)
            told["before"] = torch.cat([self.objective.logits(each) for each in outputs]).sigmoid()
        return put(put(batch, told | {"old": old}, "classes"), replayed, "replay")

    def _old(self) -> list[int]:
        """List the classes of the tasks before this one, and of later ones that were learned already."""
        before = (label for task in self.setting.tasks[: self.task] for label in task.classes)
        new = set(self.setting.tasks[self.task].classes)
        return [label for label in dict.fromkeys((*before, *self.exemplars.labels)) if label not in new]

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the loss of algorithm 3, and the weights' share."""
        batches = [part for part in (own(batch), taken_out(batch, "replay")) if part]
        told = taken_out(batch, "classes")
        outputs = self.objective.outputs_of_each(model, batches, as_one=True)
        logits = torch.cat([self.objective.logits(each) for each in outputs])
        labels = torch.cat([self.objective.labels(each) for each in batches])
        targets = torch.zeros_like(logits).scatter(1, labels[:, None], 1.0)
        if "old" in told:
            targets = targets.index_copy(1, told["old"], told["before"].index_select(1, told["old"]))
        seen = told["seen"]
        total = F.binary_cross_entropy_with_logits(logits.index_select(1, seen), targets.index_select(1, seen))
        if self.options.wd_reg:
            squares = [weight.square().sum() for weight in model.parameters() if weight.requires_grad]
            total = total + self.options.wd_reg * torch.stack(squares).sum()
        return StepLoss(total, {}, {})

    def end_task(self, task: int, model: nn.Module) -> None:
        """Reduce the exemplars of old classes, choose those of the new ones, and remember the model."""
        new = self.setting.tasks[task].classes
        self.exemplars.drop(new)
        each = self.options.buffer_size // (len(self.exemplars.labels) + len(new))
        self.exemplars.reduce(each)
        training = self.setting.tasks[task].training
        with torch.no_grad(), as_evaluated(model):
            features, labels = self._features(training, model)
        for label in new:
            candidates = torch.nonzero(labels == label)[:, 0]
            chosen = candidates[herded(features[candidates], each)]
            examples = self.setting.examples.examples(training[chosen.to(training.device)])
            self.exemplars.keep(label, examples, len(chosen))
        self.teacher.remember(model)

    def predictor(self, model: nn.Module) -> nn.Module:
        """Return what classifies by the nearest mean of exemplars; the model itself, before there are any."""
        return nearest_mean(model, self.exemplars, self.objective, self.setting.examples)

    def _features(self, training: Tensor, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the features of many examples, and their labels."""
        examples = self.setting.examples
        batches = (examples.collate(examples.examples(part), None) for part in training.split(AT_ONCE))
        found = [(unit_features(model, self.objective, batch), self.objective.labels(batch)) for batch in batches]
        return torch.cat([features for features, _ in found]), torch.cat([labels for _, labels in found])

    def state_dict(self) -> dict[str, Any]:
        """Return the exemplars, the model before, and where replay stands."""
        return {
            "exemplars": self.exemplars.state_dict(),
            "draws": self.draws.state_dict(),
            "teacher": self.teacher.state_dict(),
            "task": self.task,
            "drawn": self.drawn,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state whole."""
        self.exemplars.load_state_dict(state["exemplars"])
        self.draws.load_state_dict(state["draws"])
        self.teacher.load_state_dict(state["teacher"])
        self.task, self.drawn = state["task"], state["drawn"]


def classifier(
    model: nn.Module, options: Any, state: Mapping[str, Any], objective: Any, examples: ExampleSet
) -> nn.Module:
    """Return what `ICaRL.predictor` does, from a saved state: exemplars are all that it takes of it."""
    weight = next(model.parameters())
    exemplars = Exemplars(options.buffer_size, weight.device)
    exemplars.load_state_dict(state["exemplars"])
    return nearest_mean(model, exemplars, objective, examples)


def nearest_mean(model: nn.Module, exemplars: Exemplars, objective: Any, data: ExampleSet) -> nn.Module:
    """Return what classifies by the nearest mean of exemplars; the model itself where there are none."""
    if not len(exemplars):
        return model
    means: dict[int, Tensor] = {}
    width = 0
    with torch.no_grad(), as_evaluated(model):
        for label, examples in exemplars.of_each():
            batch = data.collate(examples, None)
            means[label] = F.normalize(unit_features(model, objective, batch).mean(0), dim=0)
            width = objective.logits(objective.outputs(model, batch)).shape[1]
    none = torch.zeros_like(next(iter(means.values())))
    return NearestMean(model, objective, torch.stack([means.get(label, none) for label in range(width)]))


def unit_features(model: nn.Module, objective: Any, batch: Batch) -> Tensor:
    """Return the features of a batch, each a vector of length one: [examples, features]."""
    return F.normalize(objective.features(model, batch), dim=1)


def _check_classes(options: Any, setting: Setting) -> None:
    classes: set[int] = set()
    for task in setting.tasks:
        if not task.classes or classes.intersection(task.classes):
            shared = f"classes {sorted(classes.intersection(task.classes))} that an earlier one has too"
            raise OptionsError(
                "could not train with the learner 'icarl': expected tasks that bring classes of their own, found the "
                f"task '{task.name}' with {shared if task.classes else 'none'}. Choose another learner, or other tasks."
            )
        classes.update(task.classes)
    if options.buffer_size < len(classes):
        raise OptionsError(
            f"could not share out the buffer of 'icarl': expected a buffer_size of at least {len(classes)}, one "
            f"example of each class, found {options.buffer_size}. Give a larger one."
        )
