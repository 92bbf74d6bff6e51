"""Say before a run begins what this machine and this architecture can't do of what its options ask for.

Promise: an optimizer that does not exist, arguments that it does not take, a device or a compiler that is not there
and a metric that is never measured are reported with all other mistakes in the options, at their lines, before a
directory is made or data are read. Needs torch. Knows no data: what only they can tell comes later.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch

from milepost.errors import OptionsError
from milepost.learning import Learner, find_learner
from milepost.learning.objective import LEVELS
from milepost.model import find_architecture
from milepost.options import Objection, RootOptions, TrainingOptions
from milepost.options.expectation import did_you_mean
from milepost.run.compiling import compiler_present
from milepost.run.device import choose_device, device_objections
from milepost.run.domain import Domain, Rereading
from milepost.run.optimizer import optimizer_objections

TRAINING = "architecture.training"
MEANINGS = {
    "loss": "a loss alone",
    "outputs": "outputs that can be kept and compared with",
    "classes": "classes",
}
TARGETS = ("tasks", "training_set.targets", "validation_set.systems", "validation_set.targets")
"""Options that decide which metrics there are, in a domain that has them."""


def training_objections(options: RootOptions) -> Iterator[Objection]:
    """List what stands in the way of training with these options, on this machine: a check for `load_options`."""
    training = cast(TrainingOptions, options.architecture.training)
    domain: Domain = find_architecture(options.architecture.name).domain.load()
    absent = list(device_objections(options.device))
    yield from absent
    device = torch.device("cpu") if absent else choose_device(options.device)
    yield from optimizer_objections(training.optimizer, f"{TRAINING}.optimizer", device)
    if device.type == "cpu" and not absent:
        yield from _uncompilable(training)
    yield from _unshared(training, device)
    yield from _imprecise(options, training, device)
    yield from _two_beginnings(options, training)
    yield from domain.objections(options)
    yield from _unlearnable(options, domain)
    known = domain.metric_names(options)
    yield from _unknown_metric("checkpoints.monitor", options.checkpoints.monitor, known)
    yield from _unknown_metric(f"{TRAINING}.early_stopping.monitor", training.early_stopping.monitor, known)


def check_trainable(options: RootOptions) -> None:
    """Raise OptionsError listing what stands in the way of training with options that no command has checked."""
    found = list(training_objections(options))
    if found:
        raise OptionsError(
            "could not train with these options:\n  "
            + "\n  ".join(f"{objection.key}: {objection.text}" for objection in found)
            + "\nCorrect them and train again."
        )


def _uncompilable(training: TrainingOptions) -> Iterator[Objection]:
    if training.compile is True and not compiler_present():
        text = "expected 'auto' or false on a machine without a C++ compiler (g++, or what CXX names), found true"
        yield Objection(f"{TRAINING}.compile", text, ("device",))


def _unshared(training: TrainingOptions, device: torch.device) -> Iterator[Objection]:
    """Batches for an accelerator are cut out of data that lie there, where no other process can go."""
    if training.loader_workers and device.type != "cpu":
        text = f"expected 0 on '{device.type}', where batches are cut out of data on the device"
        yield Objection(f"{TRAINING}.loader_workers", f"{text}, found {training.loader_workers}", ("device",))


def _two_beginnings(options: RootOptions, training: TrainingOptions) -> Iterator[Objection]:
    """Refuse two files to begin with: the second would hide the first, or mix with it."""
    weights, whole = training.finetune.read_from, options.course.loadcheck
    if weights is not None and whole is not None:
        key = f"{TRAINING}.finetune.read_from"
        text = (
            f"expected null beside {key} ('{weights}'), found '{whole}'; name the file to begin with under one of them"
        )
        yield Objection("course.loadcheck", text, (key,))


def _imprecise(options: RootOptions, training: TrainingOptions, device: torch.device) -> Iterator[Objection]:
    key, found = f"{TRAINING}.mixed_precision", training.mixed_precision
    if found is None:
        return
    if options.base_precision != 32:
        text = f"expected null with weights of {options.base_precision} bits: only 32 mix with 16, found '{found}'"
        yield Objection(key, text, ("base_precision",))
    elif not torch.amp.is_autocast_available(device.type):
        yield Objection(key, f"expected null on '{device.type}', found '{found}'", ("device",))


def _unlearnable(options: RootOptions, domain: Domain) -> Iterator[Objection]:
    """Refuse a learner that needs more than the domain's objective gives, and one that predicts with its memory in a
    domain that could not read it again in a file.
    """
    name = options.learner.name
    spec = find_learner(name)
    kind: type[Learner] = spec.build.load()
    if LEVELS.index(domain.gives) < LEVELS.index(kind.needs):
        text = f"expected a learner that needs no more than {MEANINGS[domain.gives]}, which is what '{domain.name}' has"
        yield Objection("learner.name", f"{text}, found '{name}', which needs {MEANINGS[kind.needs]}")
    elif spec.predictor is not None and not isinstance(domain, Rereading):
        text = f"expected a learner that predicts with the model itself, found '{name}', which does with its memory"
        yield Objection("learner.name", text)


def _unknown_metric(key: str, name: str, known: Sequence[str]) -> Iterator[Objection]:
    if name not in known:
        meant = [whole for whole in known if whole.endswith(f"/{name}")]
        hint = f"; did you mean '{meant[-1]}'?" if meant else did_you_mean(name, known)
        yield Objection(key, f"expected one of {', '.join(known)}, found '{name}'{hint}", TARGETS)
