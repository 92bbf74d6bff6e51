"""Fit what the data fix about a potential, and give it an ancestor's weights.

What is fitted must not tell a model of a task that it has not come to. So the size of the forces and the mean number of
neighbors are those of the first task alone, whatever follows; and the reference energies are those that the first task
fixes. A later task can have an element, or a ratio of elements, of which the tasks before say nothing: that much of the
references, and no more, is fixed by the first task that has it. No prediction for an earlier task depends on it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from ase.data import chemical_symbols
from torch import Tensor

from milepost.atoms.dataset import Structures
from milepost.atoms.options import AtomsOptions
from milepost.atoms.potential import Potential
from milepost.errors import DataError
from milepost.run import Ancestor

UNSEEN = 1e-9
"""Singular value, relative to the largest, below which a direction of compositions does not occur in the data: those
that do are made of whole numbers of atoms, and lie far above."""


def known_species(
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


def fit_facts(
    training: Structures, sizes: Sequence[int], known: list[int], cutoff: float, ancestor: Ancestor | None
) -> dict[str, Any]:
    """Fit what the data fix: reference energies by least squares, force size and mean neighbors by averaging.

    The structures are those of tasks of these sizes, one after another; see the module for what is fitted to which.
    A fine-tuned model keeps its ancestor's scale and neighbors, so that its weights keep their meaning; of
    all references that fit the first task equally well it takes those nearest to its ancestor's, so that elements
    which are absent from the new data keep theirs.
    """
    references = _references(training, sizes, known, ancestor)
    first = sizes[0]
    atoms = int(training.count[:first].sum())
    forces = training.forces[:atoms][training.force_weights[:atoms] > 0]
    rest = training.energies[:first] - training.composition(len(known))[:first] @ references
    size = float(forces.square().mean().sqrt()) if len(forces) else float(rest.std(correction=0))
    facts: dict[str, Any] = {
        "atomic_numbers": known,
        "cutoff": cutoff,
        "average_neighbors": max(1.0, float(training.degree[:atoms].double().mean())),
        "force_size": size if size > 0 else 1.0,
        "references": references.tolist(),
        "largest": int(training.count.max()),
    }
    if ancestor is not None:
        facts["average_neighbors"] = ancestor.facts["average_neighbors"]
        facts["force_size"] = ancestor.facts["force_size"]
    return facts


def _references(training: Structures, sizes: Sequence[int], known: list[int], ancestor: Ancestor | None) -> Tensor:
    """Fit reference energies [species] in eV: to the first task, then what each further one is the first to fix."""
    compositions = torch.split(training.composition(len(known)), list(sizes))
    energies = torch.split(training.energies, list(sizes))
    references = _inherited_references(known, ancestor)
    rest = energies[0] - compositions[0] @ references
    correction = torch.linalg.lstsq(compositions[0], rest.unsqueeze(1), driver="gelsd").solution
    references = references + correction[:, 0]
    _, unseen = _seen(compositions[0], torch.eye(len(known), dtype=torch.float64))
    for composition, wanted in zip(compositions[1:], energies[1:], strict=True):
        new, unseen = _seen(composition, unseen)
        if new.shape[1]:
            rest = wanted - composition @ references
            references = references + new @ torch.linalg.lstsq(composition @ new, rest, driver="gelsd").solution
    return references


def _seen(composition: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Divide directions [species, n], orthonormal, into those that occur in compositions [structures, species] and the
    rest, orthonormal too.
    """
    triangle = torch.linalg.qr(composition @ directions, mode="r").R
    _, sizes, turned = torch.linalg.svd(triangle, full_matrices=True)
    rank = int((sizes > UNSEEN * composition.norm()).sum())
    return directions @ turned[:rank].T, directions @ turned[rank:].T


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
