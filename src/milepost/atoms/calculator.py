"""Run a trained potential in ASE, from whichever file it is in."""

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
from milepost.atoms.tables import Geometry
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

    def check_state(self, atoms: ase.Atoms, tol: float = 0.0) -> list[str]:
        """List what changed since the last calculation, of what the results depend on.

        ASE's own version compares within a tolerance, and all properties; it takes as long as a small model.
        """
        if self.atoms is None:
            return list(all_changes)
        held: ase.Atoms = self.atoms
        pairs = {
            "positions": (atoms.positions, held.positions),
            "numbers": (atoms.numbers, held.numbers),
            "cell": (atoms.cell.array, held.cell.array),
            "pbc": (atoms.pbc, held.pbc),
        }
        return [name for name, (new, old) in pairs.items() if not np.array_equal(new, old)]

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute every result that the atoms allow, as ASE asks for it."""
        super().calculate(atoms, properties, system_changes)
        held: ase.Atoms = self.atoms  # type: ignore[assignment]
        found = self._opened.engine.follow(Geometry.of(held))
        if not np.isfinite(found.energy) or not np.isfinite(found.forces).all():
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
        if held.pbc.all():
            stress = 0.5 * (found.virial + found.virial.T) / held.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
