"""Export a checkpoint's potential to `.pt` (metatomic) or `.pt2` (AOTInductor), compared before published."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from milepost.atoms.engines import Engine, TableEngine, eager
from milepost.atoms.exporting_graph import FORMAT_COMPILED, FORMAT_METATOMIC, ModelFacts
from milepost.atoms.exporting_samples import parity_samples
from milepost.atoms.opening import layers_of, potential_of
from milepost.atoms.potential import Potential
from milepost.atoms.tables import Structure
from milepost.errors import ExportError
from milepost.export import Exporter, ExportRecord, Parity, Tolerance, check_target, export_model
from milepost.export.devices import usable_device
from milepost.export.origin import record_of
from milepost.run import open_trained

RELATIVE = {torch.float32: 5e-5, torch.float64: 1e-10}
"""Deviation allowed, as a fraction of the largest entry: some hundred roundings of the network."""

ABSOLUTE = {torch.float32: 2e-5, torch.float64: 1e-9}
"""Deviation allowed where everything is small, in eV and eV/Å: a hundredth of what a good model errs by."""


@dataclass(frozen=True)
class MetatomicExporter:
    """Write metatomic models. They are independent of the device and run where torch does."""

    potential: Potential
    facts: ModelFacts
    metadata: Mapping[str, Any]

    suffix = ".pt"

    def write(self, path: Path, record: ExportRecord) -> None:
        """Write the model, described by the authors' metadata and by where it came from."""
        from milepost.atoms.metatomic import save_metatomic

        origin = {
            "milepost.source": record.source,
            "milepost.run": record.run_id,
            "milepost.step": str(record.step),
        }
        save_metatomic(self.potential, self.facts, {**self.metadata, **origin}, ["cuda", "cpu"], path)

    def load(self, path: Path) -> Callable[[Any], Mapping[str, NDArray[np.floating]]]:
        """Load the file with metatomic's loader."""
        from milepost.atoms.metatomic import MetatomicEngine

        engine = MetatomicEngine(path, self.facts, torch.device("cpu"), 0.0)
        return quantities(engine, self.potential.references)


@dataclass(frozen=True)
class CompiledExporter:
    """Compile ahead of time, for the kind of device that the potential is on."""

    potential: Potential
    facts: ModelFacts

    suffix = ".pt2"

    def write(self, path: Path, record: ExportRecord) -> None:
        """Compile the potential. The record is added by the caller."""
        from milepost.atoms.compiled import compile_potential

        compile_potential(self.potential, path)

    def load(self, path: Path) -> Callable[[Any], Mapping[str, NDArray[np.floating]]]:
        """Load the file with torch's loader."""
        from milepost.atoms.compiled import load_compiled

        references = self.potential.references
        engine = TableEngine(load_compiled(path), self.facts, references.device, 0.0)
        return quantities(engine, references)


def quantities(engine: Engine, references: Tensor) -> Callable[[Any], dict[str, NDArray[np.floating]]]:
    """Turn an engine into a function from structures to what is compared: one array for each quantity.

    Reference energies [species], which either side adds in double precision, are subtracted: they would hide
    errors of the learned part.
    """
    known = dict(zip(engine.facts.atomic_numbers, references.tolist(), strict=True))

    def run(structures: Sequence[Structure]) -> dict[str, NDArray[np.floating]]:
        found = engine.predict(structures)
        base = [np.array([known[int(n)] for n in structure.numbers]) for structure in structures]
        return {
            "energy": np.array([p.energy - b.sum() for p, b in zip(found, base, strict=True)]),
            "atomic energies": np.concatenate([p.energies - b for p, b in zip(found, base, strict=True)]),
            "forces": np.concatenate([p.forces for p in found]),
            "virial": np.stack([p.virial for p in found]),
        }

    return run


def tolerances(potential: Potential) -> dict[str, Tolerance]:
    """State what may differ, by the precision of the network; the scale is the size of its output."""
    dtype = potential.scale.dtype
    absolute = ABSOLUTE[dtype] * max(1.0, float(potential.scale))
    relative = RELATIVE[dtype]
    units = {"energy": "eV", "atomic energies": "eV", "forces": "eV/Å", "virial": "eV"}
    return {name: Tolerance(absolute, relative, unit) for name, unit in units.items()}


def export_potential(
    checkpoint: Path,
    target: Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> ExportRecord:
    """Export a checkpoint; the format is told by the target's suffix, `.pt` or `.pt2`.

    `metadata` replaces what the checkpoint holds. Raises what `open_trained` and `export_model` raise, and
    ExportError for another suffix.
    """
    if target.suffix not in (".pt", ".pt2"):
        raise ExportError(
            f"could not export to '{target}': expected a name ending in .pt or .pt2, found "
            f"'{target.suffix}'. Choose .pt for metatomic engines (LAMMPS, i-PI, ASE, TorchSim), "
            ".pt2 for the fastest dynamics in ASE."
        )
    trained = open_trained(checkpoint, device=usable_device(device, checkpoint))
    potential = potential_of(trained)
    check_target(target, trained.record.run_id, overwrite=overwrite)
    facts = ModelFacts.of(potential, layers_of(trained))
    about = dict(trained.metadata if metadata is None else metadata)
    exporter: Exporter
    if target.suffix == ".pt":
        exporter, kind, place = MetatomicExporter(potential.cpu(), facts, about), FORMAT_METATOMIC, "cpu"
    else:
        exporter, kind, place = CompiledExporter(potential, facts), FORMAT_COMPILED, torch.device(device).type
    reference = quantities(eager(potential, facts.layers, 0.0), potential.references)
    samples = parity_samples(facts.atomic_numbers, int(trained.facts.get("largest", 8)))
    parity = Parity(samples, reference, tolerances(potential))
    return export_model(
        target, exporter, record_of(trained, kind, facts.to_record(), about, place), parity, overwrite=overwrite
    )
