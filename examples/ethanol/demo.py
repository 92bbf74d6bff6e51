"""From frames to molecular dynamics: train on ethanol, export, evaluate, and run 1 ps with the exported file.

`make demo` runs this. Everything is written to `demo/` at the root of the repository; a second run replaces
the model, and one that was interrupted is continued.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet

EXAMPLE = Path(__file__).resolve().parent
FOLDER = EXAMPLE.parents[1] / "demo"
DATA = EXAMPLE / "ethanol.xyz"
FIRST_UNSEEN = 1000
"""Frames from here on are the test set of options.yaml."""

TEMPERATURE_K = 500.0
TIMESTEP_FS = 0.5
STEPS = 2000


def milepost(*arguments: str) -> None:
    """Run a command as a user would, in the demo's folder; leave with its status if it fails."""
    program = shutil.which("milepost", path=str(Path(sys.executable).parent)) or "milepost"
    print(f"\n$ milepost {' '.join(arguments)}", flush=True)
    status = subprocess.run([program, *arguments], cwd=FOLDER, check=False).returncode
    if status:
        sys.exit(status)


def train() -> None:
    """Train, and export to `model.pt` at the end."""
    here = f"../{EXAMPLE.relative_to(FOLDER.parent)}"
    milepost(
        "train",
        f"{here}/options.yaml",
        "-r",
        f"training_set.systems.read_from={here}/ethanol.xyz",
        "--restart",
        "auto",
        "--overwrite",
    )


def evaluate(unseen: list[Atoms]) -> dict[str, str]:
    """Evaluate the exported file on frames it was not trained on; return its errors in words."""
    ase.io.write(FOLDER / "unseen.xyz", unseen, format="extxyz")
    milepost(
        "eval",
        "model.pt",
        f"../{EXAMPLE.relative_to(FOLDER.parent)}/eval.yaml",
        "-r",
        "systems.read_from=unseen.xyz",
        "-o",
        "predictions.xyz",
        "--overwrite",
    )
    found: list[Atoms] = ase.io.read(FOLDER / "predictions.xyz", index=":")
    forces = [b.get_forces() - a.get_forces() for a, b in zip(unseen, found, strict=True)]
    energies = [
        (b.get_potential_energy() - a.get_potential_energy()) / len(a) for a, b in zip(unseen, found, strict=True)
    ]
    return {
        "frames never seen in training": f"{len(unseen)}",
        "force error (RMSE)": f"{1e3 * rms(forces):.1f} meV/Å",
        "energy error (RMSE)": f"{1e3 * rms(energies):.2f} meV/atom",
    }


def rms(values: list[float] | list[np.ndarray]) -> float:
    """Return the root mean square of all numbers."""
    return float(np.sqrt(np.mean(np.square(values))))


def simulate(atoms: Atoms) -> dict[str, str]:
    """Run NVE dynamics with the exported file; return the drift of the energy and the speed in words."""
    from milepost.atoms import Calculator

    print(f"\n{STEPS * TIMESTEP_FS / 1000:g} ps of dynamics in ASE with model.pt", flush=True)
    atoms = Atoms(atoms.numbers, atoms.positions)
    atoms.calc = Calculator(FOLDER / "model.pt")
    thermalize_momenta(atoms, temperature_K=TEMPERATURE_K, rng=np.random.default_rng(0))
    Stationary(atoms)
    atoms.get_forces()
    energies: list[float] = []
    dynamics = VelocityVerlet(atoms, TIMESTEP_FS * units.fs, trajectory=str(FOLDER / "dynamics.traj"), loginterval=10)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    begin = time.perf_counter()
    dynamics.run(STEPS)
    seconds = time.perf_counter() - begin
    picoseconds = np.arange(len(energies)) * TIMESTEP_FS / 1000
    slope = np.polyfit(picoseconds, np.array(energies) / len(atoms), 1)[0]
    return {
        "energy drift": f"{1e3 * slope:+.3f} meV/atom/ps",
        "energy fluctuation (RMS)": f"{1e3 * float(np.std(energies)) / len(atoms):.3f} meV/atom",
        "speed of the dynamics": f"{STEPS / seconds:.0f} steps/s",
    }


def main() -> None:
    """Walk the whole road and say where everything is."""
    FOLDER.mkdir(exist_ok=True)
    begin = time.perf_counter()
    train()
    unseen: list[Atoms] = ase.io.read(DATA, index=f"{FIRST_UNSEEN}:")
    table = evaluate(unseen) | simulate(unseen[0])
    table["time for everything"] = f"{time.perf_counter() - begin:.0f} s"
    width = max(map(len, table))
    print()
    for name, value in table.items():
        print(f"  {name:<{width}}  {value}")
    print(f"\nin {FOLDER}:")
    for name, what in (
        ("model.ckpt", "the trained model; `milepost show` tells what is in it"),
        ("model.pt", "the exported model, for ASE, LAMMPS, i-PI and TorchSim"),
        ("predictions.xyz", "its predictions for the frames in unseen.xyz"),
        ("dynamics.traj", "the dynamics; `ase gui` shows it"),
        ("outputs/", "one folder for each run: options, metrics, checkpoints"),
    ):
        print(f"  {name:<16}  {what}")


if __name__ == "__main__":
    main()
