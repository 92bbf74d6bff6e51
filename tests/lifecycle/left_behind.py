"""Compare what two runs left in their folders, to the last bit, and their logs line by line.

A folder has `options.yaml` and what `milepost train` made beside it, and what each life printed in `life-NNN.log`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lifecycle.runs import differing
from milepost.checkpoint import load_checkpoint

LINE = re.compile(r"^\[[0-9:]+\] ((?:epoch [0-9]+  )?step ([0-9]+)/[0-9]+  .*?)(?:  \[[0-9:-]+ left\])?$")
BACK = re.compile(r"going back to 'step-([0-9]+)\.ckpt'")
BEGUN = re.compile(r"steps of [0-9]+")
CONTINUED = re.compile(r"continuing from '.*' at step ([0-9]+)$")
MEASURED = re.compile(r"errors on the|on each task \(columns\)")
STAMP = re.compile(r"[0-9]{8}-[0-9]{6}")
CLOCK = re.compile(r"^\[[0-9:]+\] ")
ALWAYS = {"metrics.csv", "options.yaml"}
ABOUT_ITSELF = {"run.json", "progress.json"}
"""Files that say when something was done, and by how many processes."""


def differences(alone: Path, killed: Path) -> Iterator[str]:
    """Say how a killed run differs from the oracle."""
    if len(found := list(killed.glob("outputs/*/*/run.json"))) != 1:
        yield f"expected one run, found {found}"
        return
    (one,), (other,) = (list(folder.glob("outputs/*/*/run.json")) for folder in (alone, killed))
    yield from different_texts(one.parent, other.parent)
    if (wrong := final(one)) != (found_instead := final(other)):
        yield f"run.json: expected {wrong}, found {found_instead}"
    files = [checkpoints(folder) for folder in (alone, killed)]
    if list(files[0]) != list(files[1]):
        yield f"expected the checkpoints {list(files[0])}, found {list(files[1])}"
        return
    for name, path in files[0].items():
        yield from (f"{name}: {where}" for where in differing(contents(path), contents(files[1][name])))
    if drafts := [path.name for path in killed.rglob(".*.draft")]:
        yield f"drafts were left: {drafts}"
    lines = [merged_log(folder) for folder in (alone, killed)]
    if not lines[0]:
        yield "the log has no lines to compare"
    if lines[0] != lines[1]:
        unlike = [pair for pair in zip(*lines, strict=False) if pair[0] != pair[1]]
        yield f"the log has {len(lines[1])} lines, expected {len(lines[0])}; first difference: {unlike[:1]}"


def different_texts(one: Path, other: Path) -> Iterator[str]:
    """Compare tables, pictures and options byte by byte: all files of a run's directory but those about itself."""
    names = [{path.name for path in folder.iterdir() if path.is_file()} - ABOUT_ITSELF for folder in (one, other)]
    if missing := ALWAYS - names[0]:
        yield f"the oracle lacks {sorted(missing)}"
    if names[0] != names[1]:
        yield f"expected the files {sorted(names[0])}, found {sorted(names[1])}"
    for name in sorted(names[0] & names[1]):
        if (one / name).read_bytes() != (other / name).read_bytes():
            yield f"{name} differs"


def final(path: Path) -> dict[str, Any]:
    """Read off `run.json` what must be the same however often the run was stopped."""
    record = json.loads(path.read_text(encoding="utf-8"))
    said = {key: record[key] for key in ("identity", "state", "step", "note", "total_steps", "epoch", "best")}
    return said | {"last checkpoint": record["last_checkpoint"]["name"]}


def checkpoints(folder: Path) -> dict[str, Path]:
    """Find all checkpoints of a run, by name without its time: those of steps, those of tasks, the model."""
    found = [*folder.glob("outputs/*/*/checkpoints/*.ckpt"), *folder.glob("checkpoints/*.ckpt")]
    return {STAMP.sub("TIME", path.name): path for path in [*sorted(found), folder / "model.ckpt"]}


def contents(path: Path) -> dict[str, Any]:
    """Read all of a checkpoint but who wrote it and when."""
    with load_checkpoint(path) as checkpoint:
        record = checkpoint.record
        told = {
            "step": record.step,
            "epoch": record.epoch,
            "task": record.task,
            "metrics": dict(record.metrics),
            "metadata": dict(record.metadata),
            "environment": dict(record.environment),
            "lineage": [(segment.step, dict(segment.environment)) for segment in record.lineage],
            "options": checkpoint.options_yaml,
        }
        return {name: checkpoint.state(name) for name in checkpoint.components} | {"record": told}


def merged_log(folder: Path) -> list[str]:
    """Put together what all lives said of steps and evaluations, without what was taken back later; then what the last
    one said of the model.
    """
    merged: list[tuple[int, str]] = []
    measured: list[str] = []
    for log in sorted(folder.glob("life-*.log")):
        lines = log.read_text(encoding="utf-8").splitlines()
        if not any(BEGUN.search(line) for line in lines):
            continue
        first = 0
        measured = said_of_the_model(lines)
        for line in lines:
            if BEGUN.search(line) or BACK.search(line):
                back = BACK.search(line)
                kept = int(back[1]) if back else first
                merged = [(step, text) for step, text in merged if step <= kept]
            elif match := CONTINUED.search(line):
                first = int(match[1])
            elif match := LINE.match(line):
                merged.append((int(match[2]), match[1]))
    return [line for _, line in merged] + measured


def said_of_the_model(lines: list[str]) -> list[str]:
    """Return what a life said of how well the model does: errors, or tables of tasks; nothing where it didn't."""
    first = next((number for number, line in enumerate(lines) if MEASURED.search(line)), len(lines))
    return [CLOCK.sub("", line) for line in lines[first:] if "· run: " not in line]
