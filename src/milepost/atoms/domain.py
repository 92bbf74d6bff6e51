"""The atomistic domain: structures in, energies with exact derivatives out.

What the data fix about a model ("facts") is a few plain numbers: the elements, their reference energies, the
size of the forces, the mean number of neighbors. With the options they rebuild the model anywhere, without
the data.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from ase.data import chemical_symbols
from torch import nn

from milepost.atoms.dataset import Structures
from milepost.atoms.evaluating import evaluate
from milepost.atoms.examples import StructureSet
from milepost.atoms.fitting import fit_facts, known_species, load_ancestor
from milepost.atoms.objective import PotentialObjective
from milepost.atoms.options import AtomsOptions, EnergyOptions, HeldOutOptions, LossOptions
from milepost.atoms.potential import Potential
from milepost.atoms.splitting import split_tasks
from milepost.atoms.tasks import HELD_OUT, Splits, divided, joined_frames, recorded
from milepost.model import Architecture, Component
from milepost.options import Objection
from milepost.run import Ancestor, Prepared

PRECISIONS = {32: torch.float32, 64: torch.float64}
"""Type of weights and data. Half precision is not offered, nor mixed: forces, being derivatives, lose what little it
has. Under bfloat16 they are off by 1.4 % of their size, which is what a trained potential errs by."""


class AtomsDomain:
    """Prepare training on structures and rebuild potentials from files."""

    name = "atoms"
    gives = PotentialObjective.gives
    deployment = Component("milepost.atoms.deployment", "DEPLOYMENT")

    def prepare(
        self,
        options: Any,
        architecture: Architecture,
        *,
        folder: Path,
        device: torch.device,
        ancestor: Ancestor | None,
        facts: Mapping[str, Any] | None,
    ) -> Prepared:
        """Read and split the structures of every task, fit references and scale, make the potential."""
        given: AtomsOptions = options
        cutoff = float(given.architecture.model.cutoff)  # type: ignore[attr-defined]
        splits = split_tasks(given, folder)
        frames = {name: joined_frames(splits, name) for name in ("training", *HELD_OUT)}
        known = known_species(frames["training"], ancestor, facts, given)
        sets = {name: Structures(found, cutoff, known) for name, found in frames.items()}
        sizes = [len(split.frames["training"]) for _, split in splits]
        facts = facts or fit_facts(sets["training"], sizes, known, cutoff, ancestor)
        model = self.rebuild(given, architecture, facts)
        if ancestor is not None:
            load_ancestor(model, ancestor)
        training = cast(Any, given.architecture.training)
        finished = Finishing(facts, PRECISIONS[given.base_precision], device, training.batch_size)
        data = {name: finished(structures) for name, structures in sets.items()}
        energy = learned_energy(given)
        return Prepared(
            model=model.to(device),
            facts=facts,
            split={**recorded(splits), "fingerprints": {name: found.fingerprint() for name, found in sets.items()}},
            sets=data,
            objective=_objective(training.loss, facts, energy),
            evaluate=lambda m, s: evaluate(m, cast(StructureSet, s).structures, energy, training.loss, facts),
            units=metric_units(energy),
            summary=(summary(sets, known, model), *task_summary(splits)),
            batch_shapes=len(data["training"].shapes),
            tasks=divided(splits, lambda found: finished(Structures(found, cutoff, known))),
            matrix={f"{name}_rmse": "min" for name in learned_targets(energy)},
        )

    def metric_names(self, options: Any) -> Sequence[str]:
        """List the parts of the loss and the errors on the held-out frames."""
        return metric_names(options)

    def objections(self, options: Any) -> Iterator[Objection]:
        """Refuse mixed precision: see `PRECISIONS`."""
        found = options.architecture.training.mixed_precision
        if found is not None:
            text = f"expected null, because forces are derivatives and lose what little 16 bits hold, found {found!r}"
            yield Objection("architecture.training.mixed_precision", text)

    def rebuild(self, options: Any, architecture: Architecture, facts: Mapping[str, Any]) -> Potential:
        """Make the potential that options and facts describe."""
        numbers = [int(n) for n in facts["atomic_numbers"]]
        build = architecture.build.load()
        with _default_dtype(PRECISIONS[options.base_precision]):
            network: nn.Module = build(
                options.architecture.model,
                species=len(numbers),
                average_neighbors=float(facts["average_neighbors"]),
            )
        potential = Potential(network, numbers, float(facts["cutoff"]))
        potential.references.copy_(torch.tensor(facts["references"], dtype=torch.float64))
        potential.scale.fill_(float(facts["force_size"]))
        return potential


@dataclass(frozen=True)
class Finishing:
    """Make sets of structures ready: references subtracted, in the working precision, on the device."""

    facts: Mapping[str, Any]
    dtype: torch.dtype
    device: torch.device
    batch_size: int

    def __call__(self, structures: Structures) -> StructureSet:
        """Return a set that gives batches."""
        structures.finish(torch.tensor(self.facts["references"], dtype=torch.float64), self.dtype, self.device)
        return StructureSet(structures, self.batch_size)


def _objective(loss: LossOptions, facts: Mapping[str, Any], energy: EnergyOptions) -> PotentialObjective:
    return PotentialObjective(loss, float(facts["force_size"]), with_stress=energy.stress_key() is not None)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors of this type, so that a network's constants are as precise as its weights."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def metric_units(energy: EnergyOptions) -> dict[str, str]:
    """Tell the units of the metrics, by the first word of their names."""
    unit = energy.unit
    return {"energy": f"{unit}/atom", "forces": f"{unit}/Å", "stress": f"{unit}/Å³"}


def learned_energy(options: AtomsOptions) -> EnergyOptions:
    """Return how the training set's energy is stored; all tasks learn the same, in the same unit."""
    return options.sequence()[0].training_set.targets.energy


def learned_targets(energy: EnergyOptions) -> list[str]:
    """List what is learned, in the order of the metrics."""
    keys = {"energy": energy.key, "forces": energy.forces_key(), "stress": energy.stress_key()}
    return [name for name, key in keys.items() if key]


def metric_names(options: AtomsOptions) -> list[str]:
    """List the metrics of an evaluation: the objective gives those of training, `evaluate` those of validation."""
    parts = ["loss", "energy", "forces", *(["stress"] if learned_energy(options).stress_key() else [])]
    evaluated: set[str] = set()
    for task in options.sequence():
        held_out = task.validation_set
        own = held_out.targets if isinstance(held_out, HeldOutOptions) and held_out.systems is not None else None
        evaluated.update(learned_targets((own or task.training_set.targets).energy))
    names = [name for name in ("energy", "forces", "stress") if name in evaluated]
    errors = [f"{name}_{kind}" for name in names for kind in ("rmse", "mae")]
    validation = [f"validation/{name}" for name in ("loss", *errors)]
    return [
        *(f"training/{name}" for name in parts),
        *validation,
        *(f"tasks/{name}_rmse" for name in names if options.tasks),
    ]


def summary(sets: Mapping[str, Structures], known: list[int], model: nn.Module) -> str:
    """Describe data and model in a line."""
    sizes = ", ".join(f"{len(s)} {name}" for name, s in sets.items() if len(s))
    parameters = sum(p.numel() for p in model.parameters())
    elements = " ".join(chemical_symbols[n] for n in known)
    return f"data: {sizes} · elements {elements} · {parameters:,} parameters"


def task_summary(splits: Splits) -> list[str]:
    """Describe the tasks in a line; nothing where there are none."""
    found = [f"{name} ({len(split.frames['training'])})" for name, split in splits if name]
    return [f"tasks, with structures to train on: {', '.join(found)}"] if found else []


DOMAIN = AtomsDomain()
