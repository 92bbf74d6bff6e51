"""Wrap a potential as a metatomic model (TorchScript) for LAMMPS, i-PI, TorchSim and ASE; and run one.

The model asks the engine for a full neighbor list that may hold pairs beyond the cutoff, and leaves those out
itself. It declares double precision: positions and energies are double, the network inside computes in its
own, so that large reference energies don't cost digits. Forces and stress come from the engine's derivative
of the energy.

Interface: https://docs.metatensor.org/metatomic (metatomic-torch 0.1).
"""

# TorchScript, and metatomic's check of the signature, know only the older spelling of types.
# ruff: noqa: UP006, UP035, UP045

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Dict, List, Optional, cast

import numpy as np
import torch
from metatensor.torch import Labels, TensorBlock, TensorMap  # type: ignore[attr-defined]
from metatomic.torch import (
    AtomisticModel,
    ModelCapabilities,
    ModelEvaluationOptions,
    ModelInterface,
    ModelMetadata,
    ModelOutput,
    NeighborListOptions,
    System,
    load_atomistic_model,
)
from torch import Tensor
from vesin.metatomic import NeighborList

from milepost.atoms.exporting_graph import ModelFacts
from milepost.atoms.neighbors import EMPTY_LENGTH, tabulate_pairs
from milepost.atoms.potential import Potential
from milepost.atoms.reading import check_overlap
from milepost.atoms.tables import Geometry, Prediction, Structure, check_structure
from milepost.errors import ExportError
from milepost.export import remove_traces

REFERENCES = ("model", "architecture", "implementation")


class MetatomicPotential(torch.nn.Module):
    """Give energies of systems, of each atom or summed, to metatomic."""

    references: Tensor
    scale: Tensor
    species_of: Tensor

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.network = potential.network
        self.cutoff = float(potential.cutoff)
        self.empty = EMPTY_LENGTH * self.cutoff
        self.register_buffer("references", potential.references.clone())
        self.register_buffer("scale", potential.scale.clone())
        self.register_buffer("species_of", potential.species_table())
        self.neighbors = NeighborListOptions(cutoff=self.cutoff, full_list=True, strict=False)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """Name the neighbor list that the engine must bring."""
        return [self.neighbors]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels],
    ) -> Dict[str, TensorMap]:
        """Compute what the engine asks for: energies [eV], in metatomic's form."""
        results: Dict[str, TensorMap] = {}
        if "energy" not in outputs or len(systems) == 0:
            return results
        samples = self.atoms_of(systems)
        energies = self.atomic_energies(systems, samples)
        if selected_atoms is not None:
            chosen = selected_atoms.values.to(torch.long)
            first = torch.searchsorted(samples[:, 0].contiguous(), chosen[:, 0].contiguous())
            energies = energies[first + chosen[:, 1]]
            samples = chosen
        if outputs["energy"].sample_kind == "atom":
            labels = Labels(["system", "atom"], samples.to(torch.int32))
        else:
            total = torch.zeros(len(systems), dtype=energies.dtype, device=energies.device)
            energies = total.index_add(0, samples[:, 0], energies)
            rows = torch.arange(len(systems), device=energies.device).unsqueeze(1)
            labels = Labels(["system"], rows.to(torch.int32))
        zero = torch.zeros((1, 1), dtype=torch.int32, device=energies.device)
        block = TensorBlock(
            energies.unsqueeze(1), labels, torch.jit.annotate(List[Labels], []), Labels(["energy"], zero)
        )
        results["energy"] = TensorMap(Labels(["_"], zero), [block])
        return results

    def atoms_of(self, systems: List[System]) -> Tensor:
        """List (system, atom) of all atoms in order: [atoms, 2]."""
        rows: List[Tensor] = []
        for i in range(len(systems)):
            atoms = torch.arange(len(systems[i]), device=systems[i].positions.device)
            rows.append(torch.stack([torch.full_like(atoms, i), atoms], 1))
        return torch.cat(rows)

    def atomic_energies(self, systems: List[System], samples: Tensor) -> Tensor:
        """Compute the energy of every atom of all systems, references included: [atoms], eV, double."""
        first: List[Tensor] = []
        second: List[Tensor] = []
        vectors: List[Tensor] = []
        types: List[Tensor] = []
        start = 0
        for system in systems:
            block = system.get_neighbor_list(self.neighbors)
            pairs = block.samples.values.to(torch.long)
            first.append(pairs[:, 0] + start)
            second.append(pairs[:, 1] + start)
            vectors.append(block.values.squeeze(-1))
            types.append(system.types.to(torch.long))
            start += len(system)
        species = self.species_of[torch.cat(types)]
        every = torch.cat(vectors)
        near = torch.nonzero((every * every).sum(1) < self.cutoff * self.cutoff).squeeze(1)
        neighbors, table = tabulate_pairs(
            torch.cat(first)[near],
            torch.cat(second)[near],
            every[near].to(self.scale.dtype),
            samples.shape[0],
            self.empty,
        )
        # The mirror slots serve training only: under TorchScript nothing looks at them.
        learned = self.network(table, neighbors, neighbors, species) * self.scale
        return learned.to(torch.float64) + self.references[species]


def save_metatomic(
    potential: Potential, facts: ModelFacts, metadata: Mapping[str, Any], devices: Sequence[str], path: Path
) -> None:
    """Write a potential as a metatomic model, described by its metadata; it names no folder of this machine.

    Raises ExportError where TorchScript refuses the network.
    """
    module = MetatomicPotential(copy.deepcopy(potential)).eval()
    capabilities = ModelCapabilities(
        outputs={"energy": ModelOutput(unit="eV", sample_kind="atom", description="potential energy")},
        atomic_types=list(facts.atomic_numbers),
        interaction_range=facts.cutoff * facts.layers,
        length_unit="angstrom",
        supported_devices=list(devices),
        dtype="float64",
    )
    try:
        interface = cast(ModelInterface, module)
        AtomisticModel(interface, model_metadata(metadata), capabilities).save(str(path))
    except RuntimeError as error:
        raise ExportError(
            f"could not export to '{path.name}': TorchScript refused the network: {error}. "
            "Write the architecture in what TorchScript supports, or export a .pt2 file."
        ) from error
    # Where each line came from: that serves messages of TorchScript's own, and names this machine's folders.
    remove_traces(path, leave_out=(".debug_pkl",))


def model_metadata(metadata: Mapping[str, Any]) -> ModelMetadata:
    """State metadata in metatomic's form: what it has no field for becomes text under `extra`."""
    known = ("name", "description", "authors", "references")
    references = dict(metadata.get("references", {}))
    extra = {key: _text(value) for key, value in metadata.items() if key not in known}
    extra |= {f"references.{key}": _text(value) for key, value in references.items() if key not in REFERENCES}
    return ModelMetadata(
        name=str(metadata.get("name", "")),
        description=str(metadata.get("description", "")),
        authors=[str(author) for author in metadata.get("authors", [])],
        references={key: [str(x) for x in references[key]] for key in REFERENCES if key in references},
        extra=extra,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class MetatomicEngine:
    """Run a metatomic model as an engine would: neighbor lists by vesin, forces and virials by derivative."""

    def __init__(self, path: Path | str, facts: ModelFacts, device: torch.device, skin: float) -> None:
        self.facts = facts
        self.device = device
        self._model = load_atomistic_model(str(path)).to(device)
        (request,) = self._model.requested_neighbor_lists()
        self._request = request
        self._moving = NeighborList(request, "angstrom", skin=skin)
        self._still = NeighborList(request, "angstrom", skin=0.0)
        self._options = ModelEvaluationOptions(
            length_unit="angstrom", outputs={"energy": ModelOutput(unit="eV", sample_kind="atom")}
        )

    def predict(self, structures: Sequence[Structure]) -> list[Prediction]:
        """Predict several structures, one after another."""
        return [self._predict(structure, self._still) for structure in structures]

    def follow(self, structure: Geometry) -> Prediction:
        """Predict one structure, reusing the pairs of the last one where that is exact."""
        return self._predict(structure, self._moving)

    def _predict(self, structure: Structure, search: NeighborList) -> Prediction:
        check_structure(structure, self.facts)
        strain = torch.eye(3, dtype=torch.float64, requires_grad=True)
        positions = torch.from_numpy(np.ascontiguousarray(structure.positions)).requires_grad_()
        box = np.where(structure.periodic[:, None], structure.cell, 0.0)
        system = System(
            types=torch.from_numpy(structure.numbers).to(torch.int32),
            positions=positions @ strain,
            cell=torch.from_numpy(box) @ strain,
            pbc=torch.from_numpy(structure.periodic),
        )
        block = search.compute(system)
        lengths = block.values.detach().squeeze(-1).square().sum(1).sqrt()
        check_overlap(float(lengths.min()) if len(lengths) else np.inf, structure.where)
        system.add_neighbor_list(self._request, block)
        # TorchScript's optimiser takes seconds whenever sizes change and gains nothing here.
        with torch.jit.optimized_execution(False):
            output = self._model([system.to(device=self.device)], self._options, check_consistency=False)
        energies: Tensor = output["energy"].block().values.squeeze(1)
        pull, virial = torch.autograd.grad(energies.sum(), (positions, strain), allow_unused=True)
        return Prediction(
            float(energies.detach().sum()),
            energies.detach().cpu().numpy(),
            np.zeros((len(structure.numbers), 3)) if pull is None else -pull.numpy(),
            np.zeros((3, 3)) if virial is None else virial.numpy(),
        )
