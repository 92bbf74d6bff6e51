"""Train, stop and continue each program as its own documentation says; nothing of the peers is imported here.

Each program trains on the same frames for the same number of epochs, seeded, with one thread. It saves once in the
first half of the run; it is killed (SIGKILL) one evaluation later, before it saves again, so that its log is ahead of
its checkpoint; then it is continued from that checkpoint. Needs the environments of `peers.py`. A command that fails,
or a program that is over before it could be killed, raises `SystemExit` with the place of its output.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peers
import protocol
from processes import HERE, run_logged
from resume_compare import Batch, Weights, joined

EPOCHS, STEPS_PER_EPOCH = 6, 20
EXAMPLES = STEPS_PER_EPOCH * peers.BATCH_SIZE
SAVE_STEPS, SAVE_EPOCHS = 50, 2
"""Where a run is saved: in the middle of the third epoch, or where it can't be, at the end of the second."""
PATIENCE = 1800.0
"""Seconds after which a run that saved nothing is given up."""

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Ended:
    """Hold what a training left: weights, its log as (step or epoch, validation force RMSE in meV/Å), its batches."""

    weights: Weights
    log: list[tuple[int, float]]
    batches: list[Batch] | None


class Program(ABC):
    """One program, and where it saves."""

    def __init__(self, name: str, saved: str, python: Path) -> None:
        self.name, self.saved, self.python = name, saved, python

    @abstractmethod
    def command(self, parts: protocol.Division, folder: Path, again: bool) -> Command:
        """Return the command that starts in `folder`, or that continues there."""

    @abstractmethod
    def checkpoint(self, folder: Path) -> Path:
        """Name the checkpoint that the run is continued from (a pattern may stand for what is not known)."""

    @abstractmethod
    def log(self, folder: Path) -> list[tuple[int, float]]:
        """Read all rows of the log, in the order of the files that they are in."""

    @abstractmethod
    def weights(self, folder: Path) -> tuple[str, Path]:
        """Name the kind and the place of the file with the final weights."""

    steps_before = SAVE_STEPS
    """Steps behind the checkpoint."""
    rows_before_kill = SAVE_STEPS // STEPS_PER_EPOCH + 1
    """Rows of the log from which on the run may be killed: one more than the checkpoint knows of."""

    def ready(self, folder: Path) -> bool:
        """Tell whether the checkpoint is there and the log ahead of it."""
        return any(folder.glob(str(self.checkpoint(folder)))) and len(self.log(folder)) >= self.rows_before_kill

    def train(self, parts: protocol.Division, folder: Path, *, stopped: bool) -> Ended:
        """Train to the end, stopped once or never."""
        folder.mkdir(parents=True)
        if stopped:
            kill_when(self.command(parts, folder, again=False), folder / "first.log", lambda: self.ready(folder))
        run_logged(self.command(parts, folder, again=stopped), folder / "last.log", environment())
        kind, path = self.weights(folder)
        run_logged([self.python, HERE / "resume_weights.py", kind, path, "weights.npz"], folder / "weights.log")
        with np.load(folder / "weights.npz") as stored:
            found = dict(stored)
        return Ended(found, self.log(folder), self._batches(folder, stopped))

    def record(self, folder: Path, again: bool) -> Path:
        """Name the file to which a process writes its batches."""
        return folder / f"batches-{int(again)}.jsonl"

    def _batches(self, folder: Path, stopped: bool) -> list[Batch] | None:
        parts = [_recorded(self.record(folder, again)) for again in ((False, True) if stopped else (False,))]
        found = joined(parts, [self.steps_before] * (len(parts) - 1))[: EPOCHS * STEPS_PER_EPOCH]
        return found or None


def _recorded(path: Path) -> list[Batch]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [Batch(row.get("epoch", -1), tuple(row["examples"])) for row in rows]


def environment() -> Mapping[str, str]:
    """Return what every program is run with: one thread, no accelerator, this folder's modules."""
    return {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(HERE)}


def kill_when(command: Command, log: Path, ready: Callable[[], bool]) -> None:
    """Start a command in the folder of its log, and kill it with all of its children as soon as `ready` says so."""
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=log.parent,
            env={**os.environ, **environment()},
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            limit = time.monotonic() + PATIENCE
            while not ready():
                if process.poll() is not None or time.monotonic() > limit:
                    raise SystemExit(f"{command[0]} could not be killed in the middle; its output is in {log}")
                time.sleep(0.005)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Milepost(Program):
    """The command `milepost train`, its batches recorded."""

    def command(self, parts: protocol.Division, folder: Path, again: bool) -> Command:
        """Continue with the documented `--restart auto`."""
        start: list[str | Path] = [self.python, HERE / "resume_milepost.py", self.record(folder, again), "train"]
        start += [HERE / "milepost.yaml", "-o", "model.ckpt", "--no-export"]
        for override in (*experiment(parts), f"checkpoints.every_steps={SAVE_STEPS}", *SAVE_NOWHERE_ELSE):
            start += ["-r", override]
        return [*start, "--restart", "auto"] if again else start

    def checkpoint(self, folder: Path) -> Path:
        """Name the first one saved."""
        return Path("outputs", "*", "*", "checkpoints", f"step-{SAVE_STEPS:08d}.ckpt")

    def log(self, folder: Path) -> list[tuple[int, float]]:
        """Read `metrics.csv`."""
        return [row for path in sorted(folder.glob("outputs/*/*/metrics.csv")) for row in _csv(path, "forces_rmse")]

    def weights(self, folder: Path) -> tuple[str, Path]:
        """Take the last checkpoint."""
        last = EPOCHS * STEPS_PER_EPOCH
        return "milepost", next(folder.glob(f"outputs/*/*/checkpoints/step-{last:08d}.ckpt"))

    def _batches(self, folder: Path, stopped: bool) -> list[Batch] | None:
        found = super()._batches(folder, stopped) or []
        return [Batch(step // STEPS_PER_EPOCH, batch.examples) for step, batch in enumerate(found)] or None


SAVE_NOWHERE_ELSE = ("checkpoints.every_epochs=null", "checkpoints.keep_best=0")


def experiment(parts: protocol.Division) -> list[str]:
    """List the options of Milepost's experiment, for both loops that run it."""
    return [
        f"training_set.systems.read_from={parts.training}",
        f"validation_set.systems.read_from={parts.validation}",
        f"architecture.training.epochs={EPOCHS}",
        "architecture.training.compile=false",
        "architecture.model.features=16",
    ]


class Lightning(Program):
    """Milepost's experiment in Lightning's Trainer (`resume_lightning.py`), in the middle of an epoch or at its end."""

    def __init__(self, name: str, python: Path, *, middle: bool) -> None:
        super().__init__(name, f"step {SAVE_STEPS}" if middle else f"end of epoch {SAVE_EPOCHS}", python)
        self.middle = middle
        self.steps_before = SAVE_STEPS if middle else SAVE_EPOCHS * STEPS_PER_EPOCH

    def command(self, parts: protocol.Division, folder: Path, again: bool) -> Command:
        """Continue with the documented `ckpt_path`."""
        options = ["-r" + override for override in experiment(parts)]
        where = ["--save-steps", str(SAVE_STEPS)] if self.middle else ["--save-epochs", str(SAVE_EPOCHS)]
        start = [self.python, HERE / "resume_lightning.py", HERE / "milepost.yaml", folder, *options, *where]
        start += ["--record", self.record(folder, again)]
        return [*start, "--ckpt-path", folder / self.checkpoint(folder)] if again else start

    def checkpoint(self, folder: Path) -> Path:
        """Name the file by its step."""
        return Path(f"step-{self.steps_before}.ckpt")

    def log(self, folder: Path) -> list[tuple[int, float]]:
        """Read the files of CSVLogger: one for every process."""
        return [row for path in _versions(folder) for row in _csv(path, "forces_rmse")]

    def weights(self, folder: Path) -> tuple[str, Path]:
        """Take the last checkpoint."""
        return "state_dict", folder / "end.ckpt"


class NequIP(Lightning):
    """`nequip-train` with `nequip/resume.yaml`, in the middle of an epoch or at its end."""

    def command(self, parts: protocol.Division, folder: Path, again: bool) -> Command:
        """Continue with the documented `++ckpt_path`."""
        where = f"save_steps={SAVE_STEPS}" if self.middle else f"save_epochs={SAVE_EPOCHS}"
        start: list[str | Path] = [
            self.python.parent / "nequip-train",
            "-cp",
            HERE / "nequip",
            "-cn",
            "resume",
            f"hydra.run.dir={folder}",
            f"data.train_file_path={parts.training}",
            f"data.val_file_path={parts.validation}",
            f"trainer.max_epochs={EPOCHS}",
            f"record={self.record(folder, again)}",
            where,
        ]
        return [*start, f"++ckpt_path={folder / self.checkpoint(folder)}"] if again else start

    def log(self, folder: Path) -> list[tuple[int, float]]:
        """Read the files of CSVLogger."""
        return [row for path in _versions(folder) for row in _csv(path, "val0_epoch/forces_rmse")]


class Metatrain(Program):
    """`mtt train` of metatrain's SOAP-BPNN, which saves at the end of an epoch alone."""

    steps_before = SAVE_EPOCHS * STEPS_PER_EPOCH
    rows_before_kill = SAVE_EPOCHS + 2  # its interval counts epochs from 0: the second file is that of epoch 2

    def command(self, parts: protocol.Division, folder: Path, again: bool) -> Command:
        """Continue with the documented `--restart auto`."""
        options = peers.metatrain_options(parts, "soap_bpnn", EPOCHS)
        options["architecture"]["training"]["checkpoint_interval"] = SAVE_EPOCHS
        (folder / "options.yaml").write_text(json.dumps(options, indent=1), encoding="utf-8")  # JSON is YAML
        start = [self.python.parent / "mtt", "train", "options.yaml", "-o", "model.pt"]
        return [*start, "--restart", "auto"] if again else start

    def checkpoint(self, folder: Path) -> Path:
        """Name the second one saved."""
        return Path("outputs", "*", "*", f"model_{SAVE_EPOCHS}.ckpt")

    def log(self, folder: Path) -> list[tuple[int, float]]:
        """Read `train.csv`: one for every process."""
        found: list[tuple[int, float]] = []
        for path in sorted(folder.glob("outputs/*/*/train.csv")):
            header, units, *rows = list(csv.reader(path.open(encoding="utf-8"))) or [[], []]
            wanted = [i for i, name in enumerate(header) if name.startswith("validation forces") and "RMSE" in name]
            for row in rows:
                factor = 1.0 if units[wanted[0]].startswith("meV") else 1000.0
                found.append((int(row[header.index("Epoch")]), float(row[wanted[0]]) * factor))
        return found

    def weights(self, folder: Path) -> tuple[str, Path]:
        """Take the final checkpoint, its raw weights."""
        return "model_state_dict", folder / "model.ckpt"


def _versions(folder: Path) -> list[Path]:
    return sorted(folder.glob("lightning_logs/version_*/metrics.csv"))


def _csv(path: Path, column: str) -> list[tuple[int, float]]:
    """Read (step, error in meV/Å) where there is an error, in a column whose name ends so, in eV/Å."""
    rows: list[dict[str, Any]] = list(csv.DictReader(path.open(encoding="utf-8")))
    name = next((key for key in (rows[0] if rows else {}) if key.endswith(column)), None)
    return [(int(row["step"]), 1000 * float(row[name])) for row in rows if name and row[name]]


def programs(nequip: Path | None, metatrain: Path | None) -> list[Program | str]:
    """List everything that takes part; a string says what does not, and why."""
    here = Path(sys.executable)
    found: list[Program | str] = [Milepost("Milepost", f"step {SAVE_STEPS}", here)]
    try:
        import lightning

        name = f"Lightning Trainer {lightning.__version__}"
        found += [Lightning(name, here, middle=middle) for middle in (True, False)]
    except ImportError:
        found.append("Lightning Trainer")
    found += [NequIP("NequIP", nequip, middle=m) for m in (True, False)] if nequip else ["NequIP"]
    found.append(Metatrain("metatrain", f"end of epoch {SAVE_EPOCHS + 1}", metatrain) if metatrain else "metatrain")
    return found
