"""Cut the power of a real ext4 file system while a process saves to it; check the promise on what is left.

    python tests/faults/ext4_power_cuts.py --cuts 1000

Needs root and a free loop device. One cut: a process saves in a loop (commit, `latest`, retire all but the newest) on
an image that is mounted; at a random moment, whatever that process is in, the file system is told to stop as if the
power had gone (the ioctl EXT4_IOC_SHUTDOWN with NOLOGFLUSH, which the tests of the kernel's file systems use: nothing
more is written, not even the journal). The image is copied, the copy mounted, which replays its journal, and its
folder read: a sound checkpoint must be there, no earlier than the last whose save had returned, and nothing half. The
next cut goes on with the copy, as a computer does after a power cut.

What ext4 had not handed to the device is lost; what it had is kept, in the order in which it came. A drive that loses
its own cache or reorders it is the matter of `power_cuts.py`, which makes all such states.

`--durability process` shows that the cuts do destroy what is not flushed: there, promises are broken.
Ends with status 0 if every promise held.
"""

import argparse
import fcntl
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

IMAGE_BYTES = 24 * 2**20
# linux/fs/ext4/ext4.h: _IOR('X', 125, __u32); 2 is EXT4_GOING_FLAGS_NOLOGFLUSH
SHUTDOWN = 2 << 30 | 4 << 16 | ord("X") << 8 | 125
NO_LOG_FLUSH = 2
LONGEST = 0.02  # seconds between a save and the cut: about one save
MOST_SAVES = 4  # before that moment
NUMBERS = 100_000  # 400 kB: long enough to be cut in the middle of a file


@dataclass
class Figures:
    """Count what happened."""

    cuts: int = 0
    saves: int = 0
    while_unfinished: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        return (
            f"{self.cuts} cuts in {self.seconds:.0f} s, {self.saves} saves had returned, {self.while_unfinished} cuts "
            f"left a draft of an unfinished save, {len(self.broken)} broke the promise"
        )


def unavailable() -> str | None:
    """Say what is missing here, or None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "needs root, to mount an image"
    missing = [program for program in ("mkfs.ext4", "mount", "umount", "losetup") if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    found = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    return None if found.returncode == 0 else f"needs a free loop device: {found.stderr.strip()}"


@contextmanager
def mounted(image: Path, folder: Path, options: str = "") -> Iterator[Path]:
    """Mount an image for as long as the context lasts."""
    subprocess.run(["mount", "-o", f"loop{options}", str(image), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def cut_power(folder: Path) -> None:
    """Stop the file system that holds `folder`, losing all that it had not written."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    finally:
        os.close(descriptor)


class Saver:
    """A process that saves in a loop whenever it is told to, until the file system stops."""

    def __init__(self, durability: str) -> None:
        tests = str(Path(__file__).parents[1])
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--saver", durability], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def begin(self, folder: Path, step: int, saves: int) -> int:
        """Let it save into `folder` from `step` on; return the last step when so many saves have returned."""
        if self.process.stdin is None:
            raise RuntimeError("no way to speak to the process")
        print(folder, step, file=self.process.stdin, flush=True)
        return [int(self.line()) for _ in range(saves)][-1]

    def end(self, step: int) -> int:
        """Return the last step whose save returned, `step` being the last that is known."""
        while (line := self.line()) != "stopped":
            step = int(line)
        return step

    def line(self) -> str:
        """Read one line of what it says."""
        if self.process.stdout is None:
            raise RuntimeError("no way to hear the process")
        line = self.process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the saving process ended")
        return line


def save_when_told(durability: str) -> None:
    """Be the process that saves."""
    from faults.sequence import save
    from milepost.checkpoint import discard_drafts

    for line in sys.stdin:
        name, start = line.split()
        step = int(start)
        with suppress(OSError):  # the power is cut
            discard_drafts(name)
            while True:  # until it can't
                save(Path(name), step, durability=durability, committed=tell, numbers=NUMBERS)  # type: ignore[arg-type]
                step += 1
        print("stopped", flush=True)


def tell(step: int) -> None:
    """Say that a save returned."""
    print(step, flush=True)


def run(cuts: int, *, durability: str = "power", options: str = "", seed: int | None = None) -> Figures:
    """Make so many cuts and check the promise after each."""
    rng, figures, begin = random.Random(seed), Figures(), time.monotonic()
    with tempfile.TemporaryDirectory() as name, Saver(durability) as saver:
        work = Path(name)
        image, mount = work / "image", work / "mount"
        mount.mkdir()
        with image.open("wb") as stream:
            stream.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
        step = 1
        for _ in range(cuts):
            saves, after = rng.randint(1, MOST_SAVES), rng.uniform(0, LONGEST)
            step = cut_once(work, saver, step, saves, after, options, figures)
            figures.seconds = time.monotonic() - begin
            if figures.cuts % 100 == 0:
                print(figures, file=sys.stderr, flush=True)
    return figures


def cut_once(work: Path, saver: Saver, step: int, saves: int, after: float, options: str, figures: Figures) -> int:
    """Save, cut, copy, check; leave the copy as the image. Return the next step to save."""
    from faults.sequence import problems
    from milepost.archive import is_draft

    image, copy, mount = work / "image", work / "copy", work / "mount"
    with mounted(image, mount, options):
        last = saver.begin(mount, step, saves)
        time.sleep(after)
        cut_power(mount)
        last = saver.end(last)
        shutil.copyfile(image, copy)
    copy.replace(image)
    with mounted(image, mount, options):
        shutil.rmtree(mount / "lost+found", ignore_errors=True)
        figures.while_unfinished += any(map(is_draft, mount.iterdir()))
        found = problems(mount, at_least=last)
        for path in mount.iterdir() if found else ():
            path.unlink()  # what is broken is counted once
    figures.cuts += 1
    figures.saves += last - step + 1
    if found:
        figures.broken.append(f"cut {figures.cuts}, after step {last}: {found[-1]}")
    return last + 2  # the save that was cut may be there


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--durability", choices=["power", "process"], default="power")
    parser.add_argument("--mount-options", default="", help="more options of mount, as in data=writeback")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--saver", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.saver:
        save_when_told(arguments.saver)
        return 0
    reason = unavailable()
    if reason:
        print(f"not run: {reason}", file=sys.stderr)
        return 2
    options = f",{arguments.mount_options}" if arguments.mount_options else ""
    figures = run(arguments.cuts, durability=arguments.durability, options=options, seed=arguments.seed)
    print("\n".join([*figures.broken[:10], str(figures)]))
    return 1 if figures.broken else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
