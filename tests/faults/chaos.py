"""Let another program judge: `ckpt-chaos` kills `milepost train` at every file it touches and resumes it.

    pip install ckpt-chaos
    python tests/faults/chaos.py --work /tmp/chaos

ckpt-chaos (https://pypi.org/project/ckpt-chaos) runs the training once to learn its file events, then once for each
event and mode: the process dies there, the same command is given again, and what comes out is compared with the run
that was left alone. Here the comparison is of every entry of `model.ckpt`, to the last bit; that the newest whole
checkpoint was used is checked too (LOST_WORK). Ends with ckpt-chaos's status: 0 if every point passed.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

# Every checkpoint is kept: ckpt-chaos can't follow files that the run removes itself.
CHECKPOINTS = "checkpoints: {every_steps: 4, keep_last: 100, keep_best: 1}"
FAIL_ON = "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK,CONTROL_FAIL"


def write_inputs(folder: Path) -> None:
    """Write data and options of a run of ten steps."""
    from lifecycle.runs import OPTIONS, write_run

    folder.mkdir(parents=True)
    options = OPTIONS.replace("epochs: 6", "epochs: 2").replace("evaluate_every_epochs: 2", "evaluate_every_epochs: 1")
    options = "".join(f"{CHECKPOINTS if line.startswith('checkpoints:') else line}\n" for line in options.splitlines())
    write_run(folder, options)


def command(inputs: Path) -> list[str]:
    """Return the command under test: it puts its inputs into the output folder and trains there."""
    train = f"{sys.executable} -c 'from milepost.cli import main; main()' train options.yaml --restart auto --no-export"
    return ["bash", "-c", f"mkdir -p {{out}} && cp {inputs}/* {{out}} && cd {{out}} && exec {train}"]


def show_content(path: Path) -> None:
    """Print the digest of everything in a model but its manifest, which has the run's number and the time."""
    from milepost.archive import Archive

    with Archive.open(path) as archive:
        for name, entry in archive.manifest.entries.items():
            print(name, entry.digest, *(entry.tensors or {}).values())


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=False, help="new folder for the runs")
    parser.add_argument("--points", type=int, default=1000, help="at most so many points, spread evenly")
    parser.add_argument("--modes", default="before,torn,term,unsynced")
    parser.add_argument("--content", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.content:
        show_content(arguments.content)
        return 0
    program = shutil.which("ckpt-chaos", path=str(Path(sys.executable).parent)) or shutil.which("ckpt-chaos")
    if program is None or arguments.work is None:
        print("not run: needs --work, and ckpt-chaos (pip install ckpt-chaos)", file=sys.stderr)
        return 2
    work = arguments.work.resolve()
    write_inputs(work / "inputs")
    chaos = [
        program, "run", "--work", str(work / "runs"), "--max-points", str(arguments.points),
        "--modes", arguments.modes, "--fail-on", FAIL_ON,
        "--checkpoint-glob", "{out}/outputs/*/*/checkpoints/step-*.ckpt",
        "--step-regex", r"continuing from '[^']*' at step (\d+)",
        "--result-cmd", f"{sys.executable} {Path(__file__).resolve()} --content {{out}}/model.ckpt",
        "--", *command(work / "inputs"),
    ]  # fmt: skip
    return subprocess.run(chaos, check=False).returncode


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
