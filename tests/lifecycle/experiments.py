"""List sets of options on which stops are tried: of the toy domain, of structures, of images; one task and several.

Every one is small: a run takes about a second, and has a dozen saves. None reads a file that isn't written for it, or
that a package doesn't bring.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TRAINING: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "no average": {"ema_decay": None},
    "accumulation": {"batch_size": 2, "accumulate_batches": 3},
    "two workers": {"loader_workers": 2, "epochs": 12},
    "bfloat16": {"mixed_precision": "bfloat16"},
    "float16": {"mixed_precision": "float16"},
    "early stopping": {"early_stopping": {"patience": 12}, "evaluate_every_epochs": 2},
    "plateau": {"schedule": {"name": "plateau", "patience": 2}},
    "clipping": {"gradient_clip": 0.1, "schedule": {"name": "one_cycle"}},
    "rollback": {"on_nan": "rollback", "epochs": 12},
}
"""Sets of training options, by name."""
TOY_ALONE = ("bfloat16", "float16", "rollback")  # structures are not trained in 16 bits, and none of theirs is bad

CLASSIFIERS: Mapping[str, Mapping[str, Any]] = {
    "average": {"learner": "er", "ema_decay": 0.9},
    "accumulation": {"learner": "derpp", "batch_size": 4, "accumulate_batches": 2},
    "two workers": {"learner": "derpp", "loader_workers": 2},
    "momentum": {"learner": "er-ace", "optimizer": {"name": "SGD", "arguments": {"momentum": 0.9}}},
}
"""Sets of training options for classifiers, each with a learner, beside every learner with the plain ones."""
POTENTIALS: Mapping[str, Mapping[str, Any]] = {
    "derpp": {"buffer_size": 6, "minibatch_size": 3},
    "lwf": {},
    "oewc": {},
}
"""Learners for potentials, with their options."""


@dataclass(frozen=True)
class Experiment:
    """Name a set of options; `write` puts them into a folder, with the data that they need."""

    name: str
    write: Callable[[Path], object]
    tasks: int = 1


def experiments() -> list[Experiment]:
    """List all sets of options."""
    return [*of_one_task(), *of_classifiers(), *of_potentials()]


def of_one_task() -> Iterator[Experiment]:
    """List the sets of options of the toy domain and of structures, with one thing to learn."""
    import yaml

    from lifecycle import toy
    from lifecycle.runs import OPTIONS, write_run

    def toy_run(training: Mapping[str, Any]) -> Callable[[Path], object]:
        given = {"epochs": 24, "log_every_steps": 7, **training}
        bad: dict[str, Any] = {"poisoned": [5]} if "on_nan" in training else {}
        saving = {"every_steps": 3 if bad else 5}  # before the first bad example comes
        return lambda folder: toy.write_options(folder, training=given, checkpoints=saving, **bad)

    def structures(training: Mapping[str, Any]) -> Callable[[Path], object]:
        options = yaml.safe_load(OPTIONS)
        options["architecture"]["training"] |= {"epochs": 16, "log_every_steps": 3, **training}
        return lambda folder: write_run(folder, yaml.safe_dump(options))

    for name, training in TRAINING.items():
        for domain, make in {"toy": toy_run, "structures": structures}.items():
            if domain == "toy" or name not in TOY_ALONE:
                yield Experiment(f"{domain}: {name}", make(training))


def of_classifiers() -> Iterator[Experiment]:
    """List every learner on tasks of digits, and a few with other training options."""
    from lifecycle.test_learners import LEARNERS

    for learner in LEARNERS:
        yield _classifier(f"images: {learner}", learner, {})
    for name, training in CLASSIFIERS.items():
        given = dict(training)
        learner = given.pop("learner")
        yield _classifier(f"images: {learner}, {name}", learner, given)


def _classifier(name: str, learner: str, training: Mapping[str, Any]) -> Experiment:
    import yaml

    from lifecycle.test_learners import write

    steps = 60 if learner == "joint" else 12  # of a task

    def put(folder: Path) -> None:
        write(folder, learner, **{"steps": steps, "log_every_steps": 3, **training})
        path = folder / "options.yaml"
        options = yaml.safe_load(path.read_text(encoding="utf-8"))
        options["course"] = {"savecheck": "task"}
        options["checkpoints"]["every_steps"] = 5  # no divisor of a task's length
        path.write_text(yaml.safe_dump(options), encoding="utf-8")

    return Experiment(name, put, tasks=1 if learner == "joint" else 3)


def of_potentials() -> Iterator[Experiment]:
    """List learners on two sets of structures in turn."""
    import yaml

    from lifecycle.runs import OPTIONS, write_run

    for learner, chosen in POTENTIALS.items():
        options = yaml.safe_load(OPTIONS)
        del options["training_set"], options["validation_set"]
        options["architecture"]["training"] |= {"epochs": 6, "log_every_steps": 3}
        options["learner"] = {"name": learner, **chosen}
        options["course"] = {"savecheck": "task"}
        options["tasks"] = [
            {
                "name": name,
                "training_set": {"systems": "frames.xyz", "indices": f"{first}:{first + 8}"},
                "validation_set": {"indices": f"{first + 8}:{first + 10}"},
                "test_set": {"indices": f"{first + 10}:{first + 11}"},
            }
            for name, first in {"old": 0, "new": 11}.items()
        ]
        text = yaml.safe_dump(options)
        yield Experiment(f"potentials: {learner}", lambda folder, text=text: write_run(folder, text), tasks=2)
