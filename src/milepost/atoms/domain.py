"""The atomistic domain: structures in, energies with exact derivatives out.

What the data fix about a model ("facts") is a few plain numbers: the elements, their reference energies, the
size of the forces, the mean number of neighbors. With the options they rebuild the model anywhere, without
the data.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from milepost.atoms.dataset import Structures
from milepost.atoms.evaluating import evaluate
from milepost.atoms.loss import Loss
from milepost.atoms.options import AtomsOptions, EnergyOptions, HeldOutOptions
from milepost.atoms.potential import Potential
from milepost.atoms.splitting import split_frames
from milepost.errors import DataError
from milepost.model import Architecture
from milepost.options import Objection
from milepost.run import Ancestor, Prepared

PRECISIONS = {32: torch.float32, 64: torch.float64}
"""Type of weights and data. Half precision is not offered, nor mixed: forces, being derivatives, lose what little it
has. Under bfloat16 they are off by 1.4 % of their size, which is what a trained potential errs by."""


class StructureSet:
    """Give batches of structures of fixed shapes to the loop."""

    def __init__(self, structures: Structures, batch_size: int) -> None:
        self.structures = structures
        self.shapes = structures.shapes(batch_size) if len(structures) else []

    def __len__(self) -> int:
        return len(self.structures)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """Cut out a batch, filled up to one of the set's shapes."""
        return self.structures.batch(indices, self.structures.shape_for(indices, self.shapes))

    def describe(self, indices: Tensor) -> str:
        """Name files and frames."""
        return "; ".join(self.structures.frames[int(i)].where for i in indices)


class AtomsDomain:
    """Prepare training on structures and rebuild potentials from files."""

    name = "atoms"

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
        """Read and split the structures, fit references and scale, make the potential."""
        given: AtomsOptions = options
        cutoff = float(given.architecture.model.cutoff)  # type: ignore[attr-defined]
        split = split_frames(given, folder)
        known = _known_species(split.frames["training"], ancestor, facts, given)
        sets = {name: Structures(split.frames[name], cutoff, known) for name in ("training", "validation", "test")}
        facts = facts or fit_facts(sets["training"], known, cutoff, ancestor)
        model = self.rebuild(given, architecture, facts)
        if ancestor is not None:
            load_ancestor(model, ancestor)
        dtype = PRECISIONS[given.base_precision]
        for structures in sets.values():
            structures.finish(torch.tensor(facts["references"], dtype=torch.float64), dtype, device)
        training = cast(Any, given.architecture.training)
        stress = given.training_set.targets.energy.stress_key() is not None
        fingerprints = {name: structures.fingerprint() for name, structures in sets.items()}
        energy = given.training_set.targets.energy
        data = {name: StructureSet(structures, training.batch_size) for name, structures in sets.items()}
        return Prepared(
            model=model.to(device),
            facts=facts,
            split={**split.record, "fingerprints": fingerprints},
            sets=data,
            loss=Loss(training.loss, float(facts["force_size"]), with_stress=stress),
            evaluate=lambda m, s: evaluate(m, cast(StructureSet, s).structures, energy, training.loss, facts),
            units=metric_units(energy),
            summary=(summary(sets, known, model),),
            batch_shapes=len(data["training"].shapes),
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


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make new tensors of this type, so that a network's constants are as precise as its weights."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _known_species(
    frames: Sequence[Any], ancestor: Ancestor | None, facts: Mapping[str, Any] | None, options: AtomsOptions
) -> list[int]:
    """List the elements of the model, sorted; fine-tuning adds new ones only when asked for."""
    if facts is not None:
        return [int(n) for n in facts["atomic_numbers"]]
    present = sorted({int(n) for frame in frames for n in frame.numbers})
    if ancestor is None:
        return present
    old = [int(n) for n in ancestor.facts["atomic_numbers"]]
    new = sorted(set(present) - set(old))
    finetune = cast(Any, options.architecture.training).finetune
    if new and not finetune.new_species:
        first = next(frame for frame in frames if set(frame.numbers.tolist()) & set(new))
        raise DataError(
            f"could not fine-tune '{ancestor.where}' on these data: {first.where}, field 'species': "
            f"expected only {' '.join(chemical_symbols[n] for n in old)}, "
            f"found {' '.join(chemical_symbols[n] for n in new)}. "
            "Set architecture.training.finetune.new_species: true to add them to the model."
        )
    return sorted({*old, *present})


def fit_facts(training: Structures, known: list[int], cutoff: float, ancestor: Ancestor | None) -> dict[str, Any]:
    """Fit what the data fix: reference energies by least squares, force size and mean neighbors by averaging.

    A fine-tuned model keeps its ancestor's scale and neighbors, so that its weights keep their meaning; of
    all references that fit equally well it takes those nearest to its ancestor's, so that elements which are
    absent from the new data keep theirs.
    """
    composition = training.composition(len(known))
    references = _inherited_references(known, ancestor)
    rest = training.energies - composition @ references
    correction = torch.linalg.lstsq(composition, rest.unsqueeze(1), driver="gelsd").solution
    references = references + correction[:, 0]
    rest = training.energies - composition @ references
    forces = training.forces[training.force_weights > 0]
    size = float(forces.square().mean().sqrt()) if len(forces) else float(rest.std(correction=0))
    facts: dict[str, Any] = {
        "atomic_numbers": known,
        "cutoff": cutoff,
        "average_neighbors": max(1.0, float(training.degree.double().mean())),
        "force_size": size if size > 0 else 1.0,
        "references": references.tolist(),
        "largest": int(training.count.max()),
    }
    if ancestor is not None:
        facts["average_neighbors"] = ancestor.facts["average_neighbors"]
        facts["force_size"] = ancestor.facts["force_size"]
    return facts


def _inherited_references(known: list[int], ancestor: Ancestor | None) -> Tensor:
    """Return the ancestor's reference energies [species] in eV, zero for elements that it does not know."""
    facts: Mapping[str, Any] = {"atomic_numbers": [], "references": []} if ancestor is None else ancestor.facts
    old = dict(zip(facts["atomic_numbers"], facts["references"], strict=True))
    return torch.tensor([float(old.get(n, 0.0)) for n in known], dtype=torch.float64)


def load_ancestor(model: Potential, ancestor: Ancestor) -> None:
    """Put the ancestor's weights into a model that may know more elements; their embeddings start at random.

    Raises DataError when the architecture's options differ.
    """
    own = model.network.state_dict()
    old = {n.removeprefix("network."): t for n, t in ancestor.tensors.items() if n.startswith("network.")}
    rows = [model.atomic_numbers.tolist().index(n) for n in ancestor.facts["atomic_numbers"]]
    wrong = []
    for name, value in own.items():
        found = old.get(name)
        if found is not None and found.shape == value.shape:
            value.copy_(found)
        elif found is not None and name == "embedding" and found.shape[1:] == value.shape[1:]:
            value[rows] = found.to(value.dtype)
        else:
            shape = "nothing" if found is None else tuple(found.shape)
            wrong.append(f"{name}: expected {tuple(value.shape)}, found {shape}")
    surplus = sorted(old.keys() - own.keys())
    wrong += [f"{name}: expected nothing, found {tuple(old[name].shape)}" for name in surplus]
    if ancestor.facts["cutoff"] != model.cutoff:
        wrong.append(f"cutoff: expected {model.cutoff} Å, found {ancestor.facts['cutoff']} Å")
    if wrong:
        raise DataError(
            f"could not fine-tune '{ancestor.where}': its weights don't fit these options:\n  "
            + "\n  ".join(wrong)
            + "\nGive architecture.model the values of the ancestor; `milepost show` prints them."
        )


def metric_units(energy: EnergyOptions) -> dict[str, str]:
    """Tell the units of the metrics, by the first word of their names."""
    unit = energy.unit
    return {"energy": f"{unit}/atom", "forces": f"{unit}/Å", "stress": f"{unit}/Å³"}


def metric_names(options: AtomsOptions) -> list[str]:
    """List the metrics of an evaluation: `Loss` gives those of training, `evaluate` those of validation."""
    trained = options.training_set.targets.energy
    held_out = options.validation_set
    own = held_out.targets if isinstance(held_out, HeldOutOptions) and held_out.systems is not None else None
    evaluated = trained if own is None else own.energy
    parts = ["loss", "energy", "forces", *(["stress"] if trained.stress_key() else [])]
    keys = {"energy": evaluated.key, "forces": evaluated.forces_key(), "stress": evaluated.stress_key()}
    errors = [f"{name}_{kind}" for name, key in keys.items() if key for kind in ("rmse", "mae")]
    return [*(f"training/{name}" for name in parts), *(f"validation/{name}" for name in ("loss", *errors))]


def summary(sets: Mapping[str, Structures], known: list[int], model: nn.Module) -> str:
    """Describe data and model in a line."""
    sizes = ", ".join(f"{len(s)} {name}" for name, s in sets.items() if len(s))
    parameters = sum(p.numel() for p in model.parameters())
    elements = " ".join(chemical_symbols[n] for n in known)
    return f"data: {sizes} · elements {elements} · {parameters:,} parameters"


DOMAIN = AtomsDomain()
