"""Train, compile and run the peers, each in its own Python interpreter; nothing of theirs is imported here.

Needs an environment for every peer that takes part (their versions of e3nn and torch may differ from ours):

    python3.11 -m venv /tmp/nequip
    /tmp/nequip/bin/pip install torch==2.13.0 nequip==0.19.1
    python3.11 -m venv /tmp/metatrain
    /tmp/metatrain/bin/pip install torch==2.13.0 "metatrain[soap-bpnn]==2026.4.1"

Every function takes the path of that interpreter (`--nequip-python`, `--metatrain-python`, or the environment
variables NEQUIP_PYTHON, METATRAIN_PYTHON). A command that fails raises `SystemExit` with the end of its
output and the file that has all of it. This module alone measures one peer:

    python benchmarks/peers.py nequip --variant tuned --seconds 60 --nequip-python /tmp/nequip/bin/python
"""

import argparse
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import protocol
from processes import HERE, errors_of, run_logged

BATCH_SIZE = 10
STEPS_PER_EPOCH = protocol.TRAINING_FRAMES // BATCH_SIZE


@dataclass(frozen=True)
class Outcome:
    """What one training came to; errors are on the unseen frames, by the same code for every program."""

    program: str
    variant: str
    training_seconds: float  # optimization and validation alone
    command_seconds: float  # the whole command: start, data, compilation, training, writing the model
    epochs: float
    seconds_per_epoch: float
    errors: dict[str, float]  # energy_rmse, energy_mae [meV/atom]; force_rmse, force_mae [meV/Å]
    model: Path
    # training seconds, validation force RMSE [meV/Å]
    curve: list[tuple[float, float]] = field(default_factory=list)


def _nequip_command(python: Path, parts: protocol.Division, folder: Path, variant: str) -> list[str | Path]:
    """Name the configuration and the files; what limits the time is for the caller to add."""
    return [
        python.parent / "nequip-train",
        "-cp",
        HERE / "nequip",
        "-cn",
        variant,
        f"hydra.run.dir={folder}",
        f"data.train_file_path={parts.training}",
        f"data.val_file_path={parts.validation}",
    ]


def _nequip_clock(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "clock.jsonl").read_text(encoding="utf-8").splitlines()]


def _nequip_limits(command: list[str | Path], folder: Path, variant: str, seconds: float) -> list[str]:
    """End by the clock, or, where the schedule must know its length, after what a trial says will fit."""
    if variant == "default":
        minutes, rest = divmod(round(seconds), 60)
        return [f"trainer.max_time='00:00:{minutes:02}:{rest:02}'"]
    trial = folder / "trial"
    trial.mkdir()
    short = [
        *command,
        "trainer.max_epochs=2",
        f"training_module.lr_scheduler.scheduler.total_steps={2 * STEPS_PER_EPOCH}",
    ]
    run_logged([*short, f"hydra.run.dir={trial}"], trial / "train.log", {"PYTHONPATH": str(HERE)})
    first, second = (row["seconds"] for row in _nequip_clock(trial))
    epochs = max(2, 1 + round((seconds - first) / (second - first)))
    return [
        f"trainer.max_epochs={epochs}",
        f"training_module.lr_scheduler.scheduler.total_steps={epochs * STEPS_PER_EPOCH}",
    ]


def train_nequip(
    python: Path,
    parts: protocol.Division,
    folder: Path,
    seconds: float,
    variant: str,
    extra: Sequence[str] = (),
) -> Outcome:
    """Train NequIP for `seconds` of training; the model is the best by its own validation.

    Variants are the files in `benchmarks/nequip/`; the trial that sizes the tuned schedule is not charged.
    """
    folder.mkdir(parents=True)
    command = [*_nequip_command(python, parts, folder, variant), *extra]
    limits = _nequip_limits(command, folder, variant, seconds)
    spent = run_logged([*command, *limits], folder / "train.log", {"PYTHONPATH": str(HERE)})
    clock = _nequip_clock(folder)
    epochs = clock[-1]["steps"] / STEPS_PER_EPOCH
    model = folder / "best.ckpt"
    return Outcome(
        program="NequIP",
        variant=variant,
        training_seconds=clock[-1]["seconds"],
        command_seconds=spent,
        epochs=epochs,
        seconds_per_epoch=clock[-1]["seconds"] / epochs,
        errors=errors_of(python, "nequip", model, parts.unseen),
        model=model,
        curve=[(row["seconds"], 1000 * row["metrics"]["val0_epoch/forces_rmse"]) for row in clock],
    )


def compile_nequip(python: Path, checkpoint: Path, output: Path, threads: int = 0, extra: Sequence[str] = ()) -> float:
    """Compile a checkpoint for ASE with AOTInductor, NequIP's one mode for torch ≥ 2.10; return the seconds.

    The C++ that AOTInductor writes has the number of threads fixed in it, hence `threads`; 0 leaves the
    default. The frames that the checkpoint was trained on must still be at their place. NequIP's own check of
    the result is switched off, because it compares stresses, which a molecule without a cell does not have
    (NaN ≠ NaN); the errors on unseen frames, taken with the compiled model, stand in for it.
    """
    command: list[str | Path] = [python.parent / "nequip-compile", checkpoint, output]
    command += ["--mode", "aotinductor", "--device", "cpu", "--target", "ase", *extra]
    environment = {"NEQUIP_SKIP_AOTI_MODEL_CHECK": "1"}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return run_logged(command, output.with_suffix(".log"), environment)


def metatrain_options(parts: protocol.Division, architecture: str, epochs: int) -> dict[str, Any]:
    """Leave all but the batch, the length and the log to the architecture's defaults."""
    training = {"batch_size": BATCH_SIZE, "num_epochs": epochs, "log_interval": 1, "num_workers": 0}
    if architecture == "soap_bpnn":
        training["checkpoint_interval"] = epochs

    def frames(path: Path) -> dict[str, Any]:
        target = {"quantity": "energy", "key": "energy", "unit": "eV", "forces": {"key": "forces"}}
        return {"systems": {"read_from": str(path), "length_unit": "angstrom"}, "targets": {"energy": target}}

    return {
        "seed": 0,
        "device": "cpu",
        "base_precision": 32,
        "architecture": {"name": architecture, "training": training},
        "training_set": frames(parts.training),
        "validation_set": frames(parts.validation),
        "test_set": 0.0,
    }


def _metatrain_epochs(log: Path) -> list[tuple[float, float]]:
    """Read from the log, for each epoch, seconds since training began and validation force RMSE [meV/Å]."""
    rows, start = [], None
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        stamp = re.search(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", line)
        if stamp is None:
            continue
        at = datetime.fromisoformat(stamp.group(1)).timestamp()
        if "Starting training" in line:
            start = at
        error = re.search(r"validation forces\S* RMSE:\s*([\d.eE+-]+) (m?)eV", line)
        if start is not None and error is not None:
            rows.append((at - start, float(error.group(1)) * (1 if error.group(2) else 1000)))
    return rows


def train_metatrain(
    python: Path, parts: protocol.Division, folder: Path, seconds: float, architecture: str = "soap_bpnn"
) -> Outcome:
    """Train one of metatrain's architectures, its schedule sized by a short uncharged trial to `seconds`."""

    def train(where: Path, epochs: int) -> float:
        where.mkdir(parents=True)
        options = metatrain_options(parts, architecture, epochs)
        (where / "options.yaml").write_text(json.dumps(options, indent=1), encoding="utf-8")  # JSON is YAML
        return run_logged([python.parent / "mtt", "train", "options.yaml", "-o", "model.pt"], where / "train.log")

    train(folder / "trial", 4)
    trial = _metatrain_epochs(folder / "trial" / "train.log")
    epoch = (trial[-1][0] - trial[0][0]) / (len(trial) - 1)
    spent = train(folder / "run", max(2, round(seconds / epoch)))
    curve = _metatrain_epochs(folder / "run" / "train.log")
    model = folder / "run" / "model.pt"
    return Outcome(
        program="metatrain",
        variant=architecture,
        training_seconds=curve[-1][0],
        command_seconds=spent,
        epochs=len(curve),
        seconds_per_epoch=curve[-1][0] / len(curve),
        errors=errors_of(python, "metatomic", model, parts.unseen),
        model=model,
        curve=curve,
    )


def add_interpreters(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the peers' interpreters; a peer without one takes no part."""
    for name in ("nequip", "metatrain"):
        given = os.environ.get(f"{name.upper()}_PYTHON")
        parser.add_argument(
            f"--{name}-python",
            type=Path,
            default=Path(given) if given else None,
            metavar="PATH",
            help=f"Python with {name}",
        )


def interpreters(options: argparse.Namespace) -> dict[str, Path]:
    """Name the interpreters of the peers that take part, for the line about the machine."""
    found = {"NequIP": options.nequip_python, "metatrain": options.metatrain_python}
    return {name: python for name, python in found.items() if python is not None}


def main() -> None:
    """Train one peer and print what it came to."""
    parser = argparse.ArgumentParser(description="Train one peer and print its errors on unseen frames.")
    parser.add_argument("peer", choices=["nequip", "metatrain"])
    parser.add_argument("--variant", default=None, help="nequip: default or tuned; metatrain: an architecture")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--frames", type=Path, default=protocol.FRAMES)
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR", help="new folder for what the peer writes")
    add_interpreters(parser)
    options = parser.parse_args()
    busy = protocol.busy_share()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.keep or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        parts = protocol.divide(options.frames, folder)
        if options.peer == "nequip":
            python = options.nequip_python
            outcome = train_nequip(python, parts, folder / "nequip", options.seconds, options.variant or "default")
        else:
            python = options.metatrain_python
            outcome = train_metatrain(
                python, parts, folder / "metatrain", options.seconds, options.variant or "soap_bpnn"
            )
        print(outcome)
        print(protocol.machine_line({options.peer: python}, busy))


if __name__ == "__main__":
    main()
