"""The scripts that a page recommends do what it says of them.

They are run as they stand, with programs in place of `milepost` and `scontrol` that write down what they were asked.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from docs.pages import ROOT, blocks

SCRIPTS = [block.text for block in blocks(ROOT / "docs" / "how-to" / "resume.md") if block.text.startswith("#!")]

MILEPOST = f"""#!{sys.executable}
# Leave with the statuses of the file, one after the other; where the next is "wait", say so and wait to be stopped.
import pathlib, signal, sys
asked, statuses = pathlib.Path("asked"), pathlib.Path("statuses")
with asked.open("a") as stream:
    print("milepost", *sys.argv[1:], file=stream)
first, *rest = statuses.read_text().split()
statuses.write_text(" ".join(rest))
if first == "wait":
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT, signal.SIGUSR1}})
    print("training", flush=True)
    got = signal.sigwait({{signal.SIGINT, signal.SIGUSR1}})
    with asked.open("a") as stream:
        print(signal.Signals(got).name, file=stream)
    sys.exit(75)
sys.exit(int(first))
"""
SCONTROL = """#!/bin/sh
echo scontrol "$@" >> asked
"""


class Recipe:
    """A script in a folder of its own, and the programs that it calls."""

    def __init__(self, folder: Path, text: str, statuses: str) -> None:
        self.folder = folder
        (folder / "programs").mkdir()
        for name, program in (("milepost", MILEPOST), ("scontrol", SCONTROL)):
            path = folder / "programs" / name
            path.write_text(program, encoding="utf-8")
            path.chmod(0o755)
        self.script = folder / "script"
        self.script.write_text(text, encoding="utf-8")
        self.shell = text.splitlines()[0].removeprefix("#!")
        (folder / "statuses").write_text(statuses, encoding="utf-8")

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[str]]:
        """Start the script, leader of a group of processes as a shell starts it; none of them outlives the block."""
        path = f"{self.folder / 'programs'}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "SLURM_JOB_ID": "17"}
        with subprocess.Popen(
            [self.shell, str(self.script)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def status(self) -> int:
        """Run the script to its end."""
        with self.started() as process:
            process.communicate()
            return process.returncode

    def asked(self) -> list[str]:
        """Return what the programs were asked, in turn."""
        return (self.folder / "asked").read_text(encoding="utf-8").splitlines()


TRAIN = "milepost train options.yaml --restart auto"


def loop(folder: Path, statuses: str) -> Recipe:
    return Recipe(folder, SCRIPTS[0], statuses)


def job(folder: Path, statuses: str) -> Recipe:
    return Recipe(folder, SCRIPTS[1], statuses)


def test_there_are_two() -> None:
    assert [text.count("#SBATCH") > 0 for text in SCRIPTS] == [False, True]


@pytest.mark.parametrize("last", [0, 1, 2, 74, 130])
def test_the_loop_goes_on_after_75_alone(tmp_path, last) -> None:
    recipe = loop(tmp_path, f"75 75 {last} 75")
    assert recipe.status() == last
    assert recipe.asked() == [TRAIN] * 3


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_an_interrupt_from_the_keyboard_ends_the_loop_after_the_run_has_saved(tmp_path, shell) -> None:
    recipe = Recipe(tmp_path, SCRIPTS[0].replace("/bin/sh", shell), "75 wait 0")
    with recipe.started() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert recipe.asked() == [TRAIN, TRAIN, "SIGINT"]


def test_without_the_trap_bash_would_start_the_run_again(tmp_path) -> None:
    lines = SCRIPTS[0].replace("/bin/sh", "/bin/bash").splitlines(keepends=True)
    recipe = Recipe(tmp_path, "".join(line for line in lines if not line.startswith("trap")), "wait 0")
    with recipe.started() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
    assert recipe.asked() == [TRAIN, "SIGINT", TRAIN]


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_the_job_passes_the_signal_on_and_is_queued_again(tmp_path, number) -> None:
    recipe = job(tmp_path, "wait")
    with recipe.started() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "training\n"
        process.send_signal(number)
        process.communicate()
    assert process.returncode == 75
    assert recipe.asked() == [TRAIN, "SIGUSR1", "scontrol requeue 17"]


@pytest.mark.parametrize("status", [0, 1, 74])
def test_a_job_that_is_over_is_not_queued_again(tmp_path, status) -> None:
    recipe = job(tmp_path, str(status))
    assert recipe.status() == status
    assert recipe.asked() == [TRAIN]


def test_a_job_that_found_its_own_end_is_queued_again(tmp_path) -> None:
    recipe = job(tmp_path, "75")
    assert recipe.status() == 75
    assert recipe.asked() == [TRAIN, "scontrol requeue 17"]
