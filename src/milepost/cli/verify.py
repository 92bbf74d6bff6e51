"""`milepost verify`: whether every byte of files is the one that was written."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from milepost.cli.terminal import say, visible

if TYPE_CHECKING:
    from milepost.archive.verifying import Verdict

STATES = ("sound", "damaged", "not ours", "too new", "unreadable", "missing")


@click.command("verify")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(paths: tuple[str, ...], as_json: bool) -> int:
    """Read every byte of files that milepost wrote and compare it with what was written.

    A PATH is a file, a folder (with all files of milepost's in it and below, and all that are named *.ckpt), or a
    quoted pattern, as 'runs/**/*.ckpt'. Damaged entries and tensors are named. The status is 0 only if everything that
    was named is there and sound.
    """
    from milepost.archive.verifying import verify_paths

    verdicts: list[Verdict] = []
    for verdict in verify_paths(paths):
        verdicts.append(verdict)
        if not as_json:
            say(visible(line(verdict)))
    counts = count(verdicts)
    if as_json:
        document = {"files": [_fields(verdict) for verdict in verdicts], "counts": counts}
        say(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        say(summary(counts))
    return 0 if counts["sound"] == len(verdicts) else 1


def line(verdict: "Verdict") -> str:
    """Say in one line how a file is."""
    about = "; ".join(_places(verdict)) or verdict.reason
    if verdict.state == "not ours" and verdict.path.is_file():
        about = _other(verdict.path)
    text = f"{verdict.state:<10}  {verdict.path}"
    return " ".join((f"{text}: {about}" if about else text).splitlines())


def _other(path: Path) -> str:
    """Say what a file is that holds no digests."""
    from milepost.cli.looks import appearance
    from milepost.errors import ArchiveError

    seems = appearance(path)
    if not seems.endswith("that Milepost did not export"):
        return seems
    from milepost.export.record import damages, find_record

    try:
        ours = find_record(path) is not None
    except ArchiveError as error:
        return str(error)
    if not ours:
        return seems
    damage = damages(path)
    if damage is None:
        return "an exported model: this kind of file holds no digests"
    return f"an exported model: {'; '.join(damage) or 'its digest is that of its bytes'}"


def _places(verdict: "Verdict") -> Iterator[str]:
    """Name what is damaged, and how; digests that differ are left to --json."""
    for damage in verdict.damages:
        yield damage.place if damage.digests_differ else str(damage)


def count(verdicts: Iterable["Verdict"]) -> dict[str, int]:
    """Count files by verdict."""
    found = Counter(verdict.state for verdict in verdicts)
    return {state: found[state] for state in STATES}


def summary(counts: dict[str, int]) -> str:
    """Say how many files there were of each kind."""
    total = sum(counts.values()) - counts["missing"]
    parts = [f"{number} {state}" for state, number in counts.items() if number]
    return f"{total} file{'' if total == 1 else 's'}: {', '.join(parts)}"


def _fields(verdict: "Verdict") -> dict[str, Any]:
    return {**asdict(verdict), "path": str(verdict.path)}
