"""Make the learner that the options name, for the data and the objective of a run.

Failure: OptionsError where tasks are to be stopped early. That the objective gives what the learner needs was checked
before (`milepost.run.checking`).
"""

import torch

from milepost.errors import OptionsError
from milepost.learning import Learner, LearnerSpec, Setting, Task, TaskMatrix, find_learner
from milepost.options import RootOptions, TrainingOptions
from milepost.run.domain import Prepared


def make_learner(options: RootOptions, training: TrainingOptions, prepared: Prepared) -> Learner:
    """Return the learner, new and with nothing to remember. Raises OptionsError."""
    spec = find_learner(options.learner.name)
    kind: type[Learner] = spec.build.load()
    if kind.predictor is not Learner.predictor and spec.predictor is None:
        raise OptionsError(
            f"could not train with the learner '{spec.name}': expected a LearnerSpec that names its `predictor`, found "
            "none, though it does not predict with the model itself: its files would predict something else. Give the "
            "spec one; `milepost.learning.conformance` checks it."
        )
    stream = prepared.stream()
    if training.early_stopping.patience is not None and len(stream) > 1 and not kind.joint:
        raise OptionsError(
            f"could not train {len(stream)} tasks in turn: expected architecture.training.early_stopping.patience "
            f"null, found {training.early_stopping.patience}: every task has the length that the options "
            "give it. Set epochs or steps instead."
        )
    setting = Setting(
        objective=prepared.objective,
        examples=prepared.sets["training"],  # type: ignore[arg-type]
        tasks=joined(prepared) if kind.joint else stream,
        seed=options.seed,
        batch_size=training.batch_size,
        epochs=training.epochs,
        device=next(prepared.model.parameters()).device,
    )
    return kind(options.learner, setting)


def joined(prepared: Prepared) -> tuple[Task, ...]:
    """Return all tasks as one."""
    held_out = {name: data for name, data in prepared.sets.items() if name != "training"}
    return (Task("joint", torch.arange(len(prepared.sets["training"])), held_out),)


def task_matrix(prepared: Prepared, learner: Learner) -> TaskMatrix | None:
    """Return the matrix of a run's tasks, with nothing measured; None where there are no tasks."""
    names = [task.name for task in prepared.tasks]
    return TaskMatrix(names, prepared.matrix, joint=learner.joint) if names else None


def remembering(learner: Learner, spec: LearnerSpec) -> LearnerSpec | None:
    """Return what made a learner, if it keeps anything between steps, or its options have changed since the first."""
    return None if type(learner).state_dict is Learner.state_dict and spec.version == 1 else spec
