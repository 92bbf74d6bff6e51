"""Run one program's ASE calculator in that program's own interpreter, on request.

    PYTHON benchmarks/worker.py KIND MODEL

KIND is `milepost`, `nequip` (a compiled `.nequip.pt2`, or a checkpoint, which then runs uncompiled),
`metatomic` (a `.pt`); PYTHON must have that package, ASE and NumPy. Requests come as JSON lines on standard
input, answers go as JSON lines to standard output; between requests the process sleeps, so that several
workers can be measured by turns on the same cores.

    {"do": "errors", "frames": PATH}                       → errors of energies and forces on all frames
    {"do": "dynamics", "frames": PATH, "steps": N, ...}    → seconds for N steps of NVE from the first frame
    {"do": "conservation", "frames": PATH, "steps": N, ...} → what the total energy does in them

Not imported by the other benchmarks: `processes.Worker` starts it.
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet


def calculator(kind: str, model: str, neighbors: str) -> Calculator:
    """Open a model with the calculator that its own program recommends; on the CPU."""
    if kind == "milepost":
        from milepost.atoms import Calculator as MilepostCalculator

        return MilepostCalculator(model)
    if kind == "nequip":
        from nequip.integrations.ase import NequIPCalculator

        # The checkpoint loader is NequIP's own, private because it advises compiling first.
        opener = NequIPCalculator.from_compiled_model if model.endswith(".pt2") else NequIPCalculator._from_saved_model
        return opener(model, device="cpu", chemical_species_to_atom_type_map=True, neighborlist_backend=neighbors)
    from metatomic_ase import MetatomicCalculator

    # sphericart's operators get their derivatives when its Python module is imported, not when the model loads its
    # library; without them torch takes what comes from spherical harmonics for constant, and forces are wrong.
    with contextlib.suppress(ImportError):
        import sphericart.torch  # noqa: F401 – for its effect
    extensions = Path(model).parent / "extensions"  # where `mtt train` leaves what the model needs
    return MetatomicCalculator(
        model, device="cpu", extensions_directory=str(extensions) if extensions.is_dir() else None
    )


def errors(calc: Calculator, frames: str) -> dict[str, float]:
    """Compare a calculator with the reference: energies in meV/atom, forces in meV/Å over all components."""
    energy, force, seconds = [], [], 0.0
    for reference in ase.io.read(frames, index=":", format="extxyz"):
        atoms = reference.copy()
        atoms.calc = calc
        start = time.perf_counter()
        forces = atoms.get_forces()
        found = atoms.get_potential_energy()
        seconds += time.perf_counter() - start
        energy.append((found - reference.get_potential_energy()) / len(atoms))
        force.append((forces - reference.get_forces()).ravel())
    de, df = 1000 * np.array(energy), 1000 * np.concatenate(force)
    return {
        "energy_rmse": float(np.sqrt(np.mean(de**2))),
        "energy_mae": float(np.mean(np.abs(de))),
        "force_rmse": float(np.sqrt(np.mean(df**2))),
        "force_mae": float(np.mean(np.abs(df))),
        "seconds": seconds,
        "frames": len(energy),
    }


def prepared(calc: Calculator, frames: str, timestep: float, temperature: float) -> VelocityVerlet:
    """Start NVE from the first frame, with the same velocities for every program."""
    atoms = ase.io.read(frames, index=0, format="extxyz").copy()
    atoms.calc = calc
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=np.random.default_rng(0))
    return VelocityVerlet(atoms, timestep * units.fs)


def dynamics(calc: Calculator, frames: str, steps: int, timestep: float, temperature: float) -> dict[str, float]:
    """Time NVE, by the clock and by the processor."""
    run = prepared(calc, frames, timestep, temperature)
    run.atoms.get_forces()
    start, busy = time.perf_counter(), time.process_time()
    run.run(steps)
    seconds, processor = time.perf_counter() - start, time.process_time() - busy
    return {"seconds": seconds, "processor_seconds": processor, "steps": steps, "steps_per_second": steps / seconds}


def conservation(calc: Calculator, frames: str, steps: int, timestep: float, temperature: float) -> dict[str, float]:
    """Follow the total energy: drift [meV/atom/ps] is the slope of a straight line, fluctuation [meV/atom] the rest.

    The difference of the last energy from the first is no drift: velocity Verlet conserves an energy that differs from
    the total one by terms in the square of the time step, between which the total one swings.
    """
    run = prepared(calc, frames, timestep, temperature)
    totals = np.array([run.atoms.get_total_energy() for _ in run.irun(steps)])
    energies = 1000 * (totals - totals[0]) / len(run.atoms)
    times = np.arange(len(energies)) * timestep / 1000
    drift, start = np.polyfit(times, energies, 1)
    fluctuation = np.std(energies - drift * times - start)
    return {"drift": float(drift), "fluctuation": float(fluctuation), "last": float(energies[-1])}


def answer(calc: Calculator, request: dict[str, Any]) -> dict[str, float]:
    """Do what one request asks for."""
    what = request.pop("do")
    return {"errors": errors, "dynamics": dynamics, "conservation": conservation}[what](calc, **request)


def main() -> None:
    """Open the model, say so, then answer requests until standard input ends."""
    arguments = argparse.ArgumentParser(description="Serve one calculator to the benchmarks.")
    arguments.add_argument("kind", choices=["milepost", "nequip", "metatomic"])
    arguments.add_argument("model")
    arguments.add_argument("--threads", type=int, default=0, help="threads of torch; 0 leaves its default")
    arguments.add_argument("--neighbors", default="matscipy", help="NequIP's neighbor-list backend")
    options = arguments.parse_args()
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with the answers
    start = time.perf_counter()
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    calc = calculator(options.kind, options.model, options.neighbors)
    print(json.dumps({"open_seconds": time.perf_counter() - start}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(calc, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
