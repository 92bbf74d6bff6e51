"""Measure a potential's errors on a set of structures: RMSE and MAE of each target, and the loss, in its own
units.

Energies are compared per atom. Predictions run in batches of bounded size, so that memory does not grow with
the set.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from milepost.atoms.dataset import Structures
from milepost.atoms.options import ENERGY_UNITS, EnergyOptions, LossOptions
from milepost.atoms.potential import predict

ATOMS_AT_ONCE = 512
"""Atoms in a batch of predictions: enough to fill two cores, little memory."""


class Errors:
    """Collect weighted squared and absolute errors of one target."""

    def __init__(self) -> None:
        self.squares = self.absolutes = self.weight = 0.0

    def add(self, errors: Tensor, weights: Tensor) -> None:
        """Add errors [n, ...] with weights [n]."""
        each = errors.double().flatten(1) if errors.dim() > 1 else errors.double().unsqueeze(1)
        self.squares += float((each.square().mean(1) * weights).sum())
        self.absolutes += float((each.abs().mean(1) * weights).sum())
        self.weight += float(weights.sum())

    def metrics(self, name: str, factor: float) -> dict[str, float]:
        """Return RMSE and MAE, times a factor of units; nothing where there was no target."""
        if self.weight == 0:
            return {}
        rmse, mae = math.sqrt(self.squares / self.weight), self.absolutes / self.weight
        return {f"{name}_rmse": rmse * factor, f"{name}_mae": mae * factor}


def batches(structures: Structures, atoms_at_once: int = ATOMS_AT_ONCE) -> list[Tensor]:
    """Divide a set into runs of structures of bounded size, in order."""
    groups: list[list[int]] = []
    held = 0
    for i, count in enumerate(structures.count.tolist()):
        if not groups or held + count > atoms_at_once:
            groups.append([])
            held = 0
        groups[-1].append(i)
        held += count
    return [torch.tensor(group, dtype=torch.long) for group in groups]


def evaluate(
    model: nn.Module,
    structures: Structures,
    energy: EnergyOptions,
    loss: LossOptions,
    facts: Mapping[str, Any],
) -> dict[str, float]:
    """Return loss, and the errors of energy per atom, forces and stress in the energy's unit and Å."""
    found = {name: Errors() for name in ("energy", "forces", "stress")}
    for indices in batches(structures):
        atoms = max(2, int(structures.count[indices.to(structures.count.device)].sum()))
        batch = structures.batch(indices, (len(indices), atoms))
        p = predict(
            model,
            batch["vectors"],
            batch["neighbors"],
            batch["reverse"],
            batch["species"],
            batch["structure"],
            len(indices),
            differentiable=False,
        )
        found["energy"].add((p.energies.detach() - batch["energies"]) / batch["sizes"], batch["energy_weights"])
        found["forces"].add(p.forces - batch["forces"], batch["force_weights"])
        volumes = structures.volumes[indices.to(structures.volumes.device)].clamp(min=1e-12)
        stress = (p.virials.detach() - batch["virials"]) / volumes[:, None, None]
        found["stress"].add(stress, batch["stress_weights"])
    factor = 1.0 / ENERGY_UNITS[energy.unit]
    metrics: dict[str, float] = {}
    for name, errors in found.items():
        metrics |= errors.metrics(name, factor)
    return {"loss": _loss(found, loss, float(facts["force_size"])), **metrics}


def _loss(found: Mapping[str, Errors], loss: LossOptions, size: float) -> float:
    """Sum the weighted RMSEs in units of the force size: a smooth stand-in for the training loss."""
    weights = {"energy": loss.energy, "forces": loss.forces, "stress": loss.stress}
    return sum(weights[name] * math.sqrt(e.squares / e.weight) / size for name, e in found.items() if e.weight > 0)
