"""Measure what accuracy a given training time buys: Milepost and its peers, in turn, on the same frames.

Every program trains on the same 950 frames of ethanol and validates on the same 50, batches of 10, on the
CPU, with nothing else running. Errors are on the 280 frames that none of them has seen, by the same code
(`worker.py`). Two times are given: *training*, optimization and validation alone, and *command*, all that the
user waits for (start, reading, compilation, training, writing). Peers are given the asked time for training
alone; Milepost's whole command must fit in it. Milepost runs with its step eager, and with a step that an
earlier run compiled into this benchmark's own cache (how long the first compilation takes is printed).
NequIP runs with its tutorial's schedule (`nequip/default.yaml`), and once more with loss, one-cycle schedule
and EMA like Milepost's (`nequip/tuned.yaml`).

Needs Milepost's environment, the data set (`examples/ethanol`), and an environment for every peer that takes
part (see `peers.py`). About half an hour with the defaults. Repeat with

    python benchmarks/time_to_accuracy.py --nequip-python PATH --metatrain-python PATH
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import peers
import protocol
from processes import HERE, errors_of, run_logged

MILEPOST = Path(sys.executable).parent / "milepost"
TARGET = 46.0  # meV/Å on unseen frames
VARIANTS = {"eager": "false", "compiled before": "true"}
"""Milepost's step. Where it is compiled, a short trial compiles it first, as an earlier run of the user's would."""


def milepost_command(parts: protocol.Division, folder: Path, epochs: int, variant: str) -> float:
    """Run `milepost train` for a number of epochs and return the seconds of the whole command."""
    folder.mkdir(parents=True)
    command: list[str | Path] = [MILEPOST, "train", HERE / "milepost.yaml", "-o", "model.ckpt", "--no-export"]
    for override in (
        f"training_set.systems.read_from={parts.training}",
        f"validation_set.systems.read_from={parts.validation}",
        f"architecture.training.epochs={epochs}",
        f"architecture.training.compile={VARIANTS[variant]}",
    ):
        command += ["-r", override]
    return run_logged(command, folder / "train.log")


def pace_of_milepost(parts: protocol.Division, folder: Path, variant: str) -> tuple[float, float]:
    """Return the seconds of the start and of an epoch, from short trials, uncharged like those of the peers."""
    where = folder / f"milepost-{variant.replace(' ', '-')}"
    if VARIANTS[variant] == "true":
        cold = milepost_command(parts, where / "trial-cold", 1, variant)
        print(f"Milepost, one epoch with nothing compiled before: {cold:.0f} s", file=sys.stderr)
    short = milepost_command(parts, where / "trial-short", 2, variant)
    long = milepost_command(parts, where / "trial-long", 6, variant)
    epoch = (long - short) / 4
    return short - 2 * epoch, epoch


def train_milepost(
    parts: protocol.Division, folder: Path, seconds: float, variant: str, pace: tuple[float, float]
) -> peers.Outcome:
    """Train Milepost so that the whole command takes `seconds`, then compare like the others."""
    start, epoch = pace
    epochs = max(1, int((seconds - start) / epoch))
    spent = milepost_command(parts, folder / "run", epochs, variant)
    model = folder / "run" / "model.ckpt"
    return peers.Outcome(
        program="Milepost",
        variant=variant,
        training_seconds=epochs * epoch,
        command_seconds=spent,
        epochs=epochs,
        seconds_per_epoch=epoch,
        errors=errors_of(Path(sys.executable), "milepost", model, parts.unseen),
        model=model,
    )


def crossing(outcome: peers.Outcome) -> str:
    """Find when the validation error first was at most the target, in training seconds."""
    return next((f"{seconds:.0f}" for seconds, error in outcome.curve if error <= TARGET), "–")


def row(asked: float, outcome: peers.Outcome) -> tuple[str, ...]:
    """Lay out one training."""
    errors = outcome.errors
    times = (f"{asked:.0f}", f"{outcome.training_seconds:.0f}", f"{outcome.command_seconds:.0f}")
    pace = (f"{outcome.epochs:.0f}", f"{outcome.seconds_per_epoch:.2f}")
    accuracy = (f"{errors['force_rmse']:.1f}", f"{errors['force_mae']:.1f}", f"{errors['energy_rmse']:.2f}")
    return (f"{outcome.program}, {outcome.variant}", *times, *pace, *accuracy, crossing(outcome))


def trainings(options: argparse.Namespace, parts: protocol.Division, folder: Path) -> list[tuple[float, peers.Outcome]]:
    """Run every training asked for, one at a time; one line on standard error after each."""
    done: list[tuple[float, peers.Outcome]] = []

    def note(seconds: float, outcome: peers.Outcome) -> None:
        done.append((seconds, outcome))
        print(" ".join(row(seconds, outcome)), file=sys.stderr)

    for variant in VARIANTS if options.milepost_seconds else ():
        pace = pace_of_milepost(parts, folder, variant)
        for seconds in options.milepost_seconds:
            where = folder / f"milepost-{variant.replace(' ', '-')}-{seconds:.0f}"
            note(seconds, train_milepost(parts, where, seconds, variant, pace))
    for seconds in options.peer_seconds:
        if options.nequip_python is not None:
            for variant in ("default", "tuned"):
                where = folder / f"nequip-{variant}-{seconds:.0f}"
                note(seconds, peers.train_nequip(options.nequip_python, parts, where, seconds, variant))
        if options.metatrain_python is not None:
            for name in options.metatrain:
                where = folder / f"metatrain-{name}-{seconds:.0f}"
                note(seconds, peers.train_metatrain(options.metatrain_python, parts, where, seconds, name))
    return done


def report(done: list[tuple[float, peers.Outcome]]) -> str:
    """Lay out the table."""
    header = (
        "program, schedule",
        "asked [s]",
        "training [s]",
        "command [s]",
        "epochs",
        "s/epoch",
        "force RMSE [meV/Å]",
        "force MAE [meV/Å]",
        "energy RMSE [meV/atom]",
        f"training [s] to {TARGET:.0f} meV/Å in validation",
    )
    return protocol.table(header, [row(seconds, outcome) for seconds, outcome in done])


def main() -> None:
    """Train everything, then print the table."""
    parser = argparse.ArgumentParser(description="Compare training times and errors of Milepost and its peers.")
    parser.add_argument("--milepost-seconds", type=float, nargs="*", default=[30.0, 60.0, 300.0], metavar="S")
    parser.add_argument("--peer-seconds", type=float, nargs="*", default=[60.0, 300.0], metavar="S")
    parser.add_argument(
        "--metatrain", nargs="+", default=["soap_bpnn"], metavar="NAME", help="metatrain's architectures"
    )
    parser.add_argument("--frames", type=Path, default=protocol.FRAMES)
    parser.add_argument("--keep", type=Path, default=None, metavar="DIR", help="new folder for all that is written")
    peers.add_interpreters(parser)
    options = parser.parse_args()
    busy = protocol.busy_share()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.keep or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "compiled")
        parts = protocol.divide(options.frames, folder)
        print(report(trainings(options, parts, folder)))
    print(f"\n{protocol.machine_line(peers.interpreters(options), busy)}")


if __name__ == "__main__":
    main()
