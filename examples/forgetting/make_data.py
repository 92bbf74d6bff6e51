"""Make three small sets of structures with GFN2-xTB energies and forces, to be learned in turn.

    ethanol-300K.xyz   ethanol at 300 K
    ethanol-700K.xyz   the same molecule at 700 K: wider, with strong forces
    formate-300K.xyz   methyl formate at 300 K: another molecule of the same elements

Needs `ase` and `tblite` (both on the package index); takes about five minutes on one core. The same versions and
seeds give the same frames up to the rounding of the linear-algebra library. A name on the command line makes that set
alone.

Four independent Langevin trajectories for each set start from a relaxed molecule, each with its own seed. After 1 ps of
equilibration a frame is kept every 25 fs. Trajectories are interleaved in the file, so that its last frames are the
latest of each.

Method: C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), GFN2-xTB.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS
from tblite.ase import TBLite

SETS = {
    "ethanol-300K": ("CH3CH2OH", 300.0, (0, 1, 2, 3)),
    "ethanol-700K": ("CH3CH2OH", 700.0, (10, 11, 12, 13)),
    "formate-300K": ("HCOOCH3", 300.0, (20, 21, 22, 23)),
}
"""For each set the molecule, as ASE names it, the temperature in K, and the seed of every trajectory."""

TIMESTEP_FS = 0.5
FRICTION_PER_FS = 0.02
EQUILIBRATION_STEPS = 2000
STEPS_BETWEEN_FRAMES = 50
FRAMES_PER_TRAJECTORY = 100
METHOD = "GFN2-xTB"


def labelled(atoms: Atoms) -> Atoms:
    """Copy a structure, centred, with its energy [eV] and forces [eV/Å], and nothing else of the calculator."""
    copy = Atoms(atoms.numbers, positions=atoms.get_positions() - atoms.get_center_of_mass())
    copy.calc = SinglePointCalculator(
        copy, energy=atoms.get_potential_energy(), forces=atoms.get_forces(apply_constraint=False)
    )
    return copy


def trajectory(name: str, temperature: float, seed: int) -> list[Atoms]:
    """Run one Langevin trajectory from the relaxed molecule and return its labelled frames."""
    rng = np.random.default_rng(seed)
    atoms = molecule(name)
    atoms.calc = TBLite(method=METHOD, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=500)
    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    dynamics = Langevin(
        atoms,
        TIMESTEP_FS * units.fs,
        temperature_K=temperature,
        friction=FRICTION_PER_FS / units.fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(EQUILIBRATION_STEPS)
    frames = []
    for _ in range(FRAMES_PER_TRAJECTORY):
        dynamics.run(STEPS_BETWEEN_FRAMES)
        frames.append(labelled(atoms))
    return frames


def provenance() -> dict[str, object]:
    """Say how the sets were made."""
    return {
        "method": METHOD,
        "units": {"energy": "eV", "forces": "eV/angstrom", "positions": "angstrom"},
        "frames_of_a_set": FRAMES_PER_TRAJECTORY * len(next(iter(SETS.values()))[2]),
        "sets": {
            name: {"molecule": formula, "temperature_K": temperature, "seeds": list(seeds)}
            for name, (formula, temperature, seeds) in SETS.items()
        },
        "dynamics": {
            "thermostat": "Langevin",
            "timestep_fs": TIMESTEP_FS,
            "friction_per_fs": FRICTION_PER_FS,
            "equilibration_steps": EQUILIBRATION_STEPS,
            "steps_between_frames": STEPS_BETWEEN_FRAMES,
        },
        "order": "frame k comes from trajectory k mod 4",
        "versions": {name: version(name) for name in ("tblite", "ase", "numpy")},
    }


def main() -> None:
    """Write the sets and, beside them, how they were made."""
    folder = Path(__file__).parent
    for name in sys.argv[1:] or SETS:
        formula, temperature, seeds = SETS[name]
        trajectories = [trajectory(formula, temperature, seed) for seed in seeds]
        frames = [frame for step in zip(*trajectories, strict=True) for frame in step]
        ase.io.write(folder / f"{name}.xyz", frames, format="extxyz")
        print(f"{name}: {len(frames)} frames", file=sys.stderr)
    (folder / "data.json").write_text(json.dumps(provenance(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
