"""Make `ethanol.xyz`: frames of one ethanol molecule at 500 K with GFN2-xTB energies and forces.

Needs `ase` and `tblite` (both on the package index); takes about five minutes on two cores. The same
versions and seeds give the same frames up to the rounding of the linear-algebra library.

Eight independent Langevin trajectories start from a relaxed molecule, each with its own seed. After
2 ps of equilibration a frame is kept every 50 fs, long against the slowest bond vibration, so that frames
left out of training test the model rather than its memory. Trajectories are interleaved in the file.

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

TEMPERATURE_K = 500.0
TIMESTEP_FS = 0.5
FRICTION_PER_FS = 0.02
EQUILIBRATION_STEPS = 4000
STEPS_BETWEEN_FRAMES = 100
FRAMES_PER_TRAJECTORY = 160
SEEDS = range(8)
METHOD = "GFN2-xTB"


def labelled(atoms: Atoms) -> Atoms:
    """Copy a structure, centred, with its energy [eV] and forces [eV/Å], and nothing else of the calculator."""
    copy = Atoms(atoms.numbers, positions=atoms.get_positions() - atoms.get_center_of_mass())
    copy.calc = SinglePointCalculator(
        copy, energy=atoms.get_potential_energy(), forces=atoms.get_forces(apply_constraint=False)
    )
    return copy


def trajectory(seed: int) -> list[Atoms]:
    """Run one Langevin trajectory from the relaxed molecule and return its labelled frames."""
    rng = np.random.default_rng(seed)
    atoms = molecule("CH3CH2OH")
    atoms.calc = TBLite(method=METHOD, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=500)
    thermalize_momenta(atoms, temperature_K=TEMPERATURE_K, rng=rng)
    dynamics = Langevin(
        atoms,
        TIMESTEP_FS * units.fs,
        temperature_K=TEMPERATURE_K,
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


def main() -> None:
    """Write the frames and, beside them, how they were made."""
    folder = Path(__file__).parent
    trajectories = []
    for seed in SEEDS:
        trajectories.append(trajectory(seed))
        print(f"trajectory with seed {seed}: {len(trajectories[-1])} frames", file=sys.stderr)
    frames = [frame for step in zip(*trajectories, strict=True) for frame in step]
    ase.io.write(folder / "ethanol.xyz", frames, format="extxyz")
    provenance = {
        "system": "ethanol, gas phase",
        "method": METHOD,
        "units": {"energy": "eV", "forces": "eV/angstrom", "positions": "angstrom"},
        "frames": len(frames),
        "dynamics": {
            "thermostat": "Langevin",
            "temperature_K": TEMPERATURE_K,
            "timestep_fs": TIMESTEP_FS,
            "friction_per_fs": FRICTION_PER_FS,
            "equilibration_steps": EQUILIBRATION_STEPS,
            "steps_between_frames": STEPS_BETWEEN_FRAMES,
            "seeds": list(SEEDS),
        },
        "order": "frame k comes from trajectory k mod 8",
        "versions": {name: version(name) for name in ("tblite", "ase", "numpy")},
    }
    (folder / "ethanol.json").write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
