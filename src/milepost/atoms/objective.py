"""Say what a potential is trained for in terms that learners know: its energies and forces, and how far two differ.

Outputs are without the reference energies, which are the same for a whole run. What is kept of them is what the model
said of a structure, in eV and eV/Å.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from milepost.atoms.loss import Batch, Loss, predict_batch
from milepost.atoms.messages import sum_by_structure
from milepost.atoms.options import LossOptions
from milepost.learning import Examples, Objective
from milepost.learning.data import RECALLED


class PotentialObjective(Objective):
    """Learn energies and their derivatives: those that a batch of `milepost.atoms.dataset.Structures` has.

    Outputs: `energies` [structures] in eV, `forces` [atoms, 3] in eV/Å and, where stress is trained, `virials`
    [structures, 3, 3] in eV. Padding has outputs too, all of them 0.
    """

    def __init__(self, options: LossOptions, forces_size: float, *, with_stress: bool) -> None:
        self._loss = Loss(options, forces_size, with_stress=with_stress)
        self._names = ("energies", "forces", "virials") if with_stress else ("energies", "forces")

    def count(self, batch: Batch) -> Tensor:
        """Return the number of structures, a scalar: those that fill a batch up have no atoms and don't count."""
        return self._present(batch).sum(dtype=batch["sizes"].dtype)

    def outputs(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return energies, forces and, where they are trained, virials."""
        predicted = predict_batch(model, batch)._asdict()
        return {name: predicted[name] for name in self._names}

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss that `milepost.atoms.loss` describes, and its parts."""
        return self._loss.compare(outputs, batch, batch)

    def recalled(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Keep all outputs."""
        return {name: outputs[name] for name in self._names}

    def divided(self, kept: Mapping[str, Tensor], batch: Batch) -> Examples:
        """Cut into structures: one energy and virial each, forces as a list of [atoms, 3]; padding is left out."""
        structure = batch["structure"]
        atoms = torch.bincount(structure[structure < len(batch["sizes"])])
        cut = torch.split(kept["forces"][: int(atoms.sum())], atoms.tolist())
        rest = {name: value[: len(atoms)] for name, value in kept.items() if name != "forces"}
        return {**rest, "forces": [part.clone() for part in cut]}

    def distance(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the loss with the recalled outputs in place of targets, every structure counting whole.

        With the loss "mse" this is the mean squared distance of P. Buzzega et al., NeurIPS 2020, eq. 5, energies per
        atom and forces in units of the force size; with "huber" the penalty is the loss's own, so that its weight
        means the same beside either, and a few structures that went far do not set the course.
        """
        atoms, structures = self._occupied(batch), self._present(batch)
        wanted = {name: batch[f"{RECALLED}{name}"] for name in self._names}
        weights = {"energy_weights": structures, "force_weights": atoms, "stress_weights": structures}
        total, _ = self._loss.compare(outputs, wanted, {"sizes": batch["sizes"], **weights})
        return total

    def _occupied(self, batch: Batch) -> Tensor:
        """Return 1 for every atom of a structure and 0 for padding: [atoms]."""
        return (batch["structure"] < len(batch["sizes"])).to(batch["sizes"].dtype)

    def _present(self, batch: Batch) -> Tensor:
        """Return 1 for every structure that has atoms and 0 for those that have none: [structures]."""
        places = len(batch["sizes"])
        return sum_by_structure(self._occupied(batch), batch["structure"], places).clamp(max=1.0)
