"""Measure what a potential forgets of old data when it learns new ones, learner by learner.

Two sequences of two tasks, of the sets in `examples/forgetting`: ethanol at 300 K and then at 700 K (*hotter*), and
ethanol at 300 K and then methyl formate (*molecule*). A run is one command, `milepost train`: it learns the old set as
if there were no other, and then the new one as its learner does. Errors are on 80 structures of each set that are
neither trained on nor decided by: on the old ones before and after the new set is learned, and on the new ones.

`joint` sees both sets at once, which is what the others are to come near to; `finetune` keeps nothing. Every other
learner has one setting for both sequences: the best of a few that were tried on the validation structures of the second
(`--validate`; which ones is told in `docs/benchmarks-forgetting.md`).

Needs Milepost's environment alone. Repeat with

    python benchmarks/forgetting.py --seeds 3
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import protocol
import yaml
from processes import run_logged

DATA = protocol.ROOT / "examples" / "forgetting"
MILEPOST = Path(sys.executable).parent / "milepost"
SEQUENCES = {"hotter": ("ethanol-300K", "ethanol-700K"), "molecule": ("ethanol-300K", "formate-300K")}
EPOCHS = 15
TRAINING, VALIDATION, TEST = "0:300", "300:320", "320:"
"""Frames of every file, which are in the order of time: the last are the farthest from those that are trained on."""

KEPT = {"buffer_size": 50}
LEARNERS: dict[str, dict[str, float]] = {
    "finetune": {},
    "joint": {},
    "oewc": {"e_lambda": 1e4},
    "lwf": {"alpha": 1.0},
    "er": KEPT,
    "derpp": {**KEPT, "alpha": 0.05, "beta": 1.0},
}


@dataclass(frozen=True)
class Outcome:
    """Hold the errors of one run on the old and the new set: energy in meV/atom, forces in meV/Å.

    `before` is on the old set when that was learned and nothing else; None where all is learned at once.
    """

    before: Mapping[str, float] | None
    old: Mapping[str, float]
    new: Mapping[str, float]
    seconds: float


def options(sequence: str, learner: str, seed: int, *, validate: bool) -> dict[str, object]:
    """Write the options of a run; with `validate` the validation structures are measured instead of the test's."""
    tasks = [
        {
            "name": name,
            "training_set": {"systems": str(DATA / f"{name}.xyz"), "indices": TRAINING},
            "validation_set": {"indices": VALIDATION},
            "test_set": 0.0 if validate else {"indices": TEST},
        }
        for name in SEQUENCES[sequence]
    ]
    training = {"epochs": EPOCHS, "batch_size": 10, "compile": False}
    return {
        "seed": seed,
        "device": "cpu",
        "architecture": {"name": "cairn", "model": {"cutoff": 4.5, "features": 32}, "training": training},
        "checkpoints": {"durability": "process"},
        "tasks": tasks,
        "learner": {"name": learner, **LEARNERS[learner]},
    }


def train(folder: Path, sequence: str, learner: str, seed: int, *, validate: bool) -> Outcome:
    """Train one learner on one sequence and read its errors from the run's directory, or those of a run that was kept
    there.
    """
    where = folder / f"{sequence}-{learner}-{seed}"
    kept = where / "outcome.json"
    if kept.exists():
        return Outcome(**json.loads(kept.read_text(encoding="utf-8")))
    shutil.rmtree(where, ignore_errors=True)  # of a run that did not come to its end
    where.mkdir(parents=True)
    given = options(sequence, learner, seed, validate=validate)
    (where / "options.yaml").write_text(yaml.safe_dump(given, sort_keys=False), encoding="utf-8")
    seconds = run_logged([MILEPOST, "train", "options.yaml", "-o", "model.ckpt", "--no-export"], where / "train.log")
    (found,) = where.glob("outputs/*/*/tasks.json")
    rows = json.loads(found.read_text(encoding="utf-8"))["rows"]

    def errors(row: int, task: int) -> dict[str, float]:
        return {metric: 1000 * values[row][task] for metric, values in rows.items()}

    learned_in_turn = len(rows["forces_rmse"]) > 1
    outcome = Outcome(errors(0, 0) if learned_in_turn else None, errors(-1, 0), errors(-1, 1), seconds)
    kept.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    return outcome


def cell(values: Sequence[float | None]) -> str:
    """Write a mean and, of several values, their standard deviation."""
    there = [value for value in values if value is not None]
    if not there:
        return "–"
    deviation = f" ± {statistics.stdev(there):.1f}" if len(there) > 1 else ""
    return f"{statistics.mean(there):.1f}{deviation}"


def row(learner: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Lay out one learner: forces and energies on the old set before and after, and on the new set."""
    cells = []
    for metric in ("forces_rmse", "energy_rmse"):
        cells += [
            cell([one.before[metric] if one.before else None for one in outcomes]),
            cell([one.old[metric] for one in outcomes]),
            cell([one.new[metric] for one in outcomes]),
        ]
    settings = ", ".join(f"{key} {value:g}" for key, value in LEARNERS[learner].items())
    return (f"{learner} ({settings})" if settings else learner, *cells, cell([one.seconds for one in outcomes]))


def report(found: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> str:
    """Lay out a table for each sequence."""
    header = (
        "learner",
        "forces, old, before [meV/Å]",
        "old, after",
        "new, after",
        "energy, old, before [meV/atom]",
        "old, after",
        "new, after",
        "command [s]",
    )
    parts: list[str] = []
    for sequence, learners in found.items():
        old, new = SEQUENCES[sequence]
        rows = [row(name, outcomes) for name, outcomes in learners.items()]
        parts += [f"{old}, then {new}", "", protocol.table(header, rows), ""]
    return "\n".join(parts)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each learner, with the seeds 0, 1, …")
    parser.add_argument("--sequences", nargs="+", choices=SEQUENCES, default=list(SEQUENCES))
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--validate", action="store_true", help="measure on the validation structures")
    parser.add_argument("--folder", type=Path, default=None, help="keep the runs here, and go on with those that are")
    return parser.parse_args()


def main() -> None:
    """Run every learner on every sequence, and print the tables; one line on standard error after each run."""
    given = arguments()
    machine = protocol.machine_line({}, protocol.busy_share())
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        found: dict[str, dict[str, list[Outcome]]] = {}
        for sequence in given.sequences:
            for learner in given.learners:
                for seed in range(given.seeds):
                    outcome = train(folder, sequence, learner, seed, validate=given.validate)
                    found.setdefault(sequence, {}).setdefault(learner, []).append(outcome)
                    print(sequence, seed, *row(learner, [outcome]), file=sys.stderr)
    print(report(found))
    print(machine)


if __name__ == "__main__":
    main()
