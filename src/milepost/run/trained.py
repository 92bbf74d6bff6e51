"""Open the model in a checkpoint, without the data it was trained on and without its ancestors.

Promise: what comes back computes what the run evaluated: the averaged weights where there are any, and what the learner
predicted with, where that was not the model itself. Older versions of an architecture, and of a learner, are upgraded.
Nothing in the file is run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import nn

from milepost.checkpoint import Checkpoint, CheckpointRecord, load_checkpoint, module_mismatches
from milepost.errors import StateMismatchError, UnknownArchitectureError
from milepost.learning import find_learner
from milepost.model import Architecture, find_architecture
from milepost.options import RootOptions, load_options
from milepost.run.domain import Domain, Rereading
from milepost.run.versions import remembered, what_to_install

PREDICTS = "predicts with"
"""Key of a checkpoint's metadata: the learner without which its model does not predict what the run measured."""


@dataclass(frozen=True)
class Trained:
    """Hold a trained model and everything its file says about it.

    `predictor` is what the run measured; it is called as the `model` is, and is the model itself for most learners.
    """

    path: Path
    digest: str
    architecture: Architecture
    options: RootOptions
    facts: Mapping[str, Any]
    model: nn.Module
    predictor: nn.Module
    record: CheckpointRecord

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the authors say about the model."""
        return cast(Mapping[str, Any], self.record.metadata.get("metadata", {}))


def named_architecture(checkpoint: Checkpoint) -> Architecture:
    """Return the architecture that a checkpoint's options name.

    Raises UnknownArchitectureError when it is not installed or not named.
    """
    data = yaml.safe_load(checkpoint.options_yaml)
    section = cast(dict[str, Any], data).get("architecture") if isinstance(data, dict) else None
    if not isinstance(section, dict) or "name" not in section:
        raise UnknownArchitectureError(
            f"could not open the model in '{checkpoint.path}': expected options that name its architecture, found "
            "none: milepost did not train it. Load its weights into your module with milepost.checkpoint.load_weights."
        )
    return find_architecture(str(section["name"]))


def upgraded(checkpoint: Checkpoint, tensors: dict[str, Any]) -> tuple[Architecture, RootOptions, dict[str, Any]]:
    """Read a checkpoint's architecture and options and carry them, with its tensors, to today's version.

    Raises UnsupportedVersionError when the file is newer than this installation, UnknownArchitectureError when its
    architecture is not installed or not named.
    """
    architecture = named_architecture(checkpoint)
    data = yaml.safe_load(checkpoint.options_yaml)
    version = checkpoint.record.versions.get(architecture.name, 1)
    model, tensors = architecture.upgrade(
        version, data["architecture"].get("model", {}), tensors, to_install=what_to_install(checkpoint, architecture)
    )
    data["architecture"]["model"] = model
    return architecture, load_options(None, architecture.options_class(), text=json.dumps(data)), tensors


def open_trained(path: Path | str, *, device: torch.device | str = "cpu") -> Trained:
    """Open the trained model of a checkpoint, ready to predict.

    Raises the ArchiveError family when the file is damaged, foreign or too new, UnknownArchitectureError when its
    architecture is not installed, OptionsError when its learner is not, StateMismatchError when its tensors don't fit.
    """
    with load_checkpoint(path) as checkpoint:
        component = "ema" if "ema" in checkpoint.components else "model"
        tensors = cast(dict[str, Any], checkpoint.state(component))
        architecture, options, tensors = upgraded(checkpoint, tensors)
        facts = cast(Mapping[str, Any], checkpoint.state("facts"))
        domain: Domain = architecture.domain.load()
        model = domain.rebuild(options, architecture, facts)
        problems = module_mismatches(model, tensors)
        if problems:
            raise StateMismatchError(
                f"could not open the model in '{path}':\n  " + "\n  ".join(problems) + "\n"
                f"Install the version of '{architecture.name}' that made it."
            )
        model.load_state_dict(tensors)
        model.to(device).eval().requires_grad_(False)
        predictor = _predictor(checkpoint, options, facts, domain, model)
        return Trained(Path(path), checkpoint.digest, architecture, options, facts, model, predictor, checkpoint.record)


def _predictor(
    checkpoint: Checkpoint, options: RootOptions, facts: Mapping[str, Any], domain: Domain, model: nn.Module
) -> nn.Module:
    """Return what the learner of a run predicted with: made of the model, and of what the learner remembers."""
    if PREDICTS not in checkpoint.record.metadata:
        return model
    spec = find_learner(str(checkpoint.record.metadata[PREDICTS]))
    section, state = remembered(checkpoint, spec, options.learner.model_dump())
    if spec.predictor is None:
        return model
    chosen = load_options(checkpoint.path, spec.options, text=json.dumps(section))
    device = next(model.parameters()).device
    objective, examples = cast(Rereading, domain).without_data(options, facts, device)
    made: nn.Module = spec.predictor.load()(model, chosen, state, objective, examples)
    return made.eval().requires_grad_(False)
