"""Run a trained potential in ASE, from whichever file it is in."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import ase
import numpy as np
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import all_changes
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress

from milepost.atoms.opening import SKIN, Opened, open_potential
from milepost.atoms.snapshot import Snapshot
from milepost.errors import DataError


class Calculator(AseCalculator):
    """Compute energies, forces and stress of ASE's atoms with a checkpoint (`.ckpt`) or an exported model.

    The kind of file (`.ckpt`, `.pt`, `.pt2`) is read from its content. `device` is "cpu" or "cuda"; the
    default is where the file was made. `skin` [Å] is how far beyond the cutoff pairs are kept, so that
    dynamics need new neighbor lists only every so many steps; results do not depend on it.

    Results: energy and free_energy [eV] (equal), energies [atoms] [eV], forces [atoms, 3] [eV/Å], and for
    periodic cells stress [6] [eV/Å³] in Voigt order xx yy zz yz xz xy with ASE's sign.

    Raises DataError from a calculation where the atoms hold elements that the model does not know, overlap,
    or have a periodic cell without volume. Opening raises what `open_potential` raises.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]  # type: ignore[misc]
    default_parameters: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __init__(self, path: Path | str, *, device: str | None = None, skin: float = SKIN) -> None:
        self._snapshot: Snapshot | None = None
        super().__init__()
        self.path = Path(path)
        self._opened: Opened = open_potential(self.path, device=device, skin=skin)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the model's authors say: name, description, authors, references, and any other key."""
        return self._opened.metadata

    @property
    def cutoff(self) -> float:
        """Reach of one round of messages, in Å."""
        return self._opened.engine.facts.cutoff

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols of the elements that the model knows."""
        return tuple(chemical_symbols[n] for n in self._opened.engine.facts.atomic_numbers)

    def citation(self) -> str:
        """Say what to cite with results of this model; empty where its authors named nothing."""
        references: Mapping[str, Sequence[str]] = self.metadata.get("references", {})
        lines = [f"{kind}: {text}" for kind, texts in references.items() for text in texts]
        return "\n".join(lines)

    def __repr__(self) -> str:
        name = self.metadata.get("name") or "unnamed model"
        lines = [f"Calculator of '{name}' from {self.path} ({self._opened.kind}, {' '.join(self.elements)})"]
        if self.metadata.get("authors"):
            lines.append("by " + ", ".join(str(author) for author in self.metadata["authors"]))
        citation = self.citation()
        return "\n".join(lines + (["please cite:", citation] if citation else []))

    @property  # type: ignore[override]
    def atoms(self) -> ase.Atoms | None:
        """Return a copy of the atoms of the last calculation, None where there was none."""
        return self._snapshot.to_atoms() if self._snapshot is not None else None

    @atoms.setter
    def atoms(self, atoms: ase.Atoms | None) -> None:
        self._snapshot = None if atoms is None else Snapshot(atoms)

    def check_state(self, atoms: ase.Atoms, tol: float = 0.0) -> list[str]:
        """List what changed since the last calculation, of what the results depend on.

        ASE's own version compares within a tolerance, and all properties; it takes as long as a small model.
        """
        return list(all_changes) if self._snapshot is None else self._snapshot.changes(atoms)

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute every result that the atoms allow, as ASE asks for it."""
        if atoms is not None:
            self._snapshot = Snapshot(atoms)
        if self._snapshot is None:
            raise DataError("could not compute: expected atoms, found none, neither now nor before. Give atoms.")
        structure = self._snapshot.geometry
        found = self._opened.engine.follow(structure)
        if not math.isfinite(found.energy) or not np.isfinite(found.forces).all():
            raise DataError(
                "could not compute the structure, field 'forces': expected finite numbers, "
                "found NaN or infinity. "
                "Check the structure, or the model with 'milepost eval'."
            )
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "energies": found.energies,
            "forces": found.forces,
        }
        if structure.periodic.all():
            stress = 0.5 * (found.virial + found.virial.T) / abs(np.linalg.det(structure.cell))
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
