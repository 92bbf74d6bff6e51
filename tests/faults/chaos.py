"""Let another program judge: `ckpt-chaos` kills a training at every file it touches, resumes it, and compares.

    pip install ckpt-chaos
    python tests/faults/chaos.py --work /tmp/chaos
    python tests/faults/chaos.py --work /tmp/chaos-lightning --training lightning --processes 2

ckpt-chaos (https://pypi.org/project/ckpt-chaos) runs the training once to learn its file events, then once for each
event and mode: the process dies there, the training is continued, and what comes out is compared with the run that was
left alone. Here the comparison is of every entry of the last file, to the last bit; that the newest whole checkpoint
was used is checked too (LOST_WORK). The training is `milepost train`, one process, or `examples/lightning/train.py`.

All processes are forked from one that has made the imports (`warm_start.py`): most of the time would go there.

The last lines say how many points there were by mode and verdict, and how many were not where they were planned: a
point that another event took the place of says nothing about the one that it was meant for. Ends with status 0 if
every point passed and was where it was planned.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FAIL_ON = "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK,CONTROL_FAIL"
# Every checkpoint is kept: ckpt-chaos can't follow files that the run removes itself.
CHECKPOINTS = "checkpoints: {every_steps: 6, keep_last: 100, keep_best: 1}"
OF_THE_PLACE = ("callbacks",)
"""Components that hold a path, which is another one for every run."""


@dataclass(frozen=True)
class Training:
    """Say how a training is started, with files of the same names each time, and continued; what it writes; and how it
    says from which step it goes on.
    """

    start: list[str]
    resume: list[str]
    checkpoints: str
    result: str
    continued: str


@contextmanager
def warm(modules: tuple[str, ...]) -> Generator[str]:
    """Run a server that has imported `modules`; give the command of its client."""
    program = str(HERE / "warm_start.py")
    with tempfile.TemporaryDirectory() as folder:
        server = [sys.executable, program, "serve", f"{folder}/socket", *modules]
        # It ends with its input, so also where this process is killed.
        with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield f"{sys.executable} -S {program} run {folder}/socket"
            process.communicate()


MODULES = {
    "milepost": (
        "torch._dynamo",
        "milepost.atoms.cairn",
        "milepost.cli.train",
        "milepost.cli.validation",
        "milepost.run.training",
    ),
    "lightning": ("lightning.pytorch", "milepost.lightning"),
}


def milepost_training(client: str, inputs: Path) -> Training:
    """Train a potential for ten steps in the output folder."""
    from lifecycle.runs import OPTIONS, write_run

    inputs.mkdir(parents=True)
    options = OPTIONS.replace("epochs: 6", "epochs: 2").replace("evaluate_every_epochs: 2", "evaluate_every_epochs: 1")
    options = options.replace("features: 8", "features: 32")  # a step lasts longer than a save: their order is certain
    options = "".join(f"{CHECKPOINTS if line.startswith('checkpoints:') else line}\n" for line in options.splitlines())
    write_run(inputs, options, molecules=("C6H6",))
    place = f"mkdir -p {{out}} && cp {inputs}/* {{out}} && cd {{out}} && exec {client}"
    train = "milepost train options.yaml --restart auto --no-export"
    return Training(
        start=["bash", "-c", f"{place} {train}"],
        resume=["bash", "-c", f"{place} plain {train}"],
        checkpoints="{out}/outputs/*/*/checkpoints/step-*.ckpt",
        result="{out}/model.ckpt",
        continued=r"continuing from '[^']*' at step (\d+)",
    )


def lightning_training(client: str, processes: int) -> Training:
    """Train the example's network for sixteen steps."""
    script = str(HERE.parents[1] / "examples" / "lightning" / "train.py")
    arguments = ["--folder", "{out}", "--epochs", str(processes), "--keep", "-1", "--every", "4"]
    arguments += ["--devices", str(processes)]
    return Training(
        start=[*client.split(), script, *arguments],
        resume=[*client.split(), "plain", script, *arguments],
        checkpoints="{out}/*.ckpt",
        result="{out}/epoch={epoch}-step=16.ckpt".replace("{epoch}", str(processes - 1)),
        continued=r"starting from \S*step=(\d+)\.ckpt",
    )


def show_content(path: Path) -> None:
    """Print the digests of all that is in a checkpoint but its manifest, which has the time."""
    from milepost.archive import Archive

    with Archive.open(path) as archive:
        for name, entry in archive.manifest.entries.items():
            if name.partition(".")[0] not in OF_THE_PLACE:
                print(name, entry.digest, *(entry.tensors or {}).values())


def command(program: str, client: str, training: Training, arguments: argparse.Namespace) -> list[str]:
    """Return the command line of ckpt-chaos."""
    resume = " ".join(f'"{word}"' if " " in word else word for word in training.resume)
    return [
        program, "run", "--work", str(arguments.work), "--max-points", str(arguments.points),
        "--modes", arguments.modes, "--fail-on", FAIL_ON, "--ranks", str(arguments.processes),
        "--crash-rank", str(arguments.killed), "--timeout", "120",
        "--checkpoint-glob", training.checkpoints, "--step-regex", training.continued,
        "--result-cmd", f"{client} plain {HERE / 'chaos.py'} --content {training.result}",
        "--resume-cmd", resume, "--", *training.start,
    ]  # fmt: skip


def summary(work: Path) -> tuple[str, bool]:
    """Count what ckpt-chaos found, as a table, and tell whether all of it is good."""
    from ckpt_chaos.invariants import ResumeOutcome, classify  # pyright: ignore[reportMissingImports]

    rows: list[dict[str, Any]] = [json.loads(path.read_text()) for path in sorted(work.glob("pt_*/result.json"))]
    counts: Counter[tuple[str, str]] = Counter()
    elsewhere = alive = 0
    for row in (row for row in rows if "point" in row):
        counts[row["point"][1], classify(ResumeOutcome(**row["outcome"]))] += 1
        elsewhere += row["drift"]
        alive += not row["crashed"]
    lines = [f"{mode:<10} {verdict:<18} {count}" for (mode, verdict), count in sorted(counts.items())]
    total = sum(counts.values())
    lines.append(f"{total} points, {elsewhere} not where they were planned, {alive} that let the training end")
    return "\n".join(lines), bool(counts) and {verdict for _, verdict in counts} == {"PASS"} and not elsewhere


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="new folder for the runs")
    parser.add_argument("--training", choices=["milepost", "lightning"], default="milepost")
    parser.add_argument("--processes", type=int, default=1, help="of one training; lightning only")
    parser.add_argument("--killed", type=int, default=0, help="which of them is killed")
    parser.add_argument("--points", type=int, default=1000, help="at most so many points, spread evenly")
    parser.add_argument("--modes", default="before,torn,term,unsynced")
    parser.add_argument("--content", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.content:
        show_content(arguments.content)
        return 0
    program = shutil.which("ckpt-chaos", path=str(Path(sys.executable).parent))
    if program is None or arguments.work is None:
        print("not run: needs --work, and ckpt-chaos (pip install ckpt-chaos)", file=sys.stderr)
        return 2
    with warm(MODULES[arguments.training]) as client:
        if arguments.training == "milepost":
            training = milepost_training(client, arguments.work.resolve().with_name(f"{arguments.work.name}-inputs"))
        else:
            training = lightning_training(client, arguments.processes)
        status = subprocess.run(command(program, client, training, arguments), check=False).returncode
    text, good = summary(arguments.work)
    print(text)
    return status or (0 if good else 1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
