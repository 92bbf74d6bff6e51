"""`milepost show`: what a file is, where it came from, and what is in it."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from milepost.cli.terminal import say, visible

Shown: TypeAlias = tuple[Mapping[str, Any], Iterable[str], list[str] | None]
"""What is shown: everything for programs, lines for people, and the damage where it was looked for."""

ALIGNED_RIGHT = ("examples", "tensors", "numbers", "size", "found", "allowed")


@click.command("show")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Also read every byte and compare it with its digest.")
def command(path: Path, as_json: bool, verify: bool) -> int:
    """Say what PATH is and what is in it: a checkpoint, an exported model, a file of another program, or a run.

    The kind is told by the content. Nothing in the file is run; of a pickle, what it would import is named. Of a run's
    directory, say how the run stands, and how well it does every task of a sequence. The status is 1 when --verify
    finds damage.
    """
    contents, lines, damage = _run(path, verify=verify) or _file(path, verify=verify)
    if as_json:
        say(json.dumps(finite(contents), indent=2, ensure_ascii=False, default=str))
    else:
        say("\n".join(map(visible, lines)))
    return 1 if damage else 0


def _file(path: Path, *, verify: bool) -> Shown:
    from milepost.cli.contents import damages, describe

    contents = describe(path)
    damage = damages(path) if verify else None
    if verify:
        contents = {**contents, "damage": damage}
    return contents, page(contents), damage


def _run(path: Path, *, verify: bool) -> Shown | None:
    """Look at a run; None where the path is no run's."""
    if not path.is_dir():
        return None
    from milepost.cli.run_page import damages_of_run, find_run, run_fields, run_page

    found = find_run(path)
    if found is None:
        return None
    contents, lines = run_fields(found), [*run_page(found)]
    if not verify:
        return contents, lines, None
    damage = damages_of_run(path)
    return {**contents, "damage": damage}, [*lines, "", *_verdict(damage)], damage


def page(contents: Mapping[str, Any]) -> Iterator[str]:
    """Write a file's description for people, line by line."""
    yield contents["file"]
    yield from pairs(_head(contents))
    for title, key in (
        ("metadata", "metadata"),
        ("metrics at the latest evaluation", "metrics"),
        ("fixed by the data", "facts"),
        ("environment", "environment"),
        ("versions", "versions"),
    ):
        if contents.get(key):
            yield from ("", title, *pairs(contents[key]))
    if len(contents.get("lineage") or ()) > 1:
        yield from ("", "made in more than one environment", *map(_segment, contents["lineage"]))
    if contents.get("components"):
        yield from ("", "sizes by component", *_table(map(_sized, contents["components"])))
    if contents.get("learner", {}).get("remembers"):
        yield from ("", "what the learner remembers", *_table(map(_remembered, contents["learner"]["remembers"])))
    if contents.get("parameters"):
        rows = [_parameter_row(row) for row in contents["parameters"]]
        title = "tensors by module" if "unpickling" in contents else "parameters and buffers by module"
        yield from ("", title, *_table(rows))
    if "unpickling" in contents:
        yield from ("", *_unpickling(contents["unpickling"]))
    if contents.get("unpickling") is not None and contents["metadata"].get("machine_code"):
        yield "if it were loaded, its machine code would run, and could do anything"
    if contents.get("parity"):
        rows = [{"quantity": name, **values} for name, values in contents["parity"].items()]
        yield from ("", "largest deviation from the trained model", *_table(rows))
    if contents.get("options"):
        yield from ("", "options", *(f"  {line}" for line in contents["options"].splitlines()))
    if "damage" in contents:
        yield from ("", *_verdict(contents["damage"]))


def _head(contents: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what identifies the file."""
    version = contents.get("format_version")
    form = contents.get("format") or (f"format {version}" if version else None)
    architecture = contents.get("architecture") or {}
    head = {
        "kind": f"{contents['kind']}{f' ({form})' if form else ''}, {_size(contents['bytes'])}",
        "digest": contents.get("digest"),
    }
    if architecture.get("name"):
        version = architecture.get("version")
        head["architecture"] = architecture["name"] + (f", version {version}" if version else "")
    names = {"run_id": "run", "step": "step", "epoch": "epoch", "task": "task", "created": "created"}
    head |= {name: contents.get(key) for key, name in names.items() if contents.get(key) != ""}
    if contents.get("tasks"):
        head["task"] = _task(contents["tasks"], contents.get("task"))
    if contents.get("learner"):
        head["learner"] = contents["learner"]["name"]
    head["written by"] = contents.get("written_by")
    if "source" in contents and isinstance(contents["source"], str):
        head["made from"] = contents["source"]
    elif "parents" in contents:
        head["started from"] = contents["parents"] or "no other file"
    origin = contents.get("converted_from")
    if origin:
        head["converted from"] = " ".join(str(value) for value in origin.values())
    return {name: value for name, value in head.items() if value is not None}


def _unpickling(found: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Say what would happen to another program that unpickled the file."""
    suspicious = list(found["suspicious"])
    harmless = [name for name in found["imports"] if name not in suspicious]
    rows: dict[str, list[str]] = {}
    if harmless:
        rows["imported, for tensors and plain values"] = harmless
    if suspicious:
        rows["imported, and could run anything"] = suspicious
    if rows:
        yield from ("if it were unpickled", *pairs(rows))
    else:
        yield "there is no pickle in it that would import anything"


def _segment(entry: Mapping[str, Any]) -> str:
    """Say from which step on which part of the environment was another."""
    return f"  from step {entry.get('step')}: {', '.join(entry['changes']) or 'as it began'}"


def _sized(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"component": row["name"], "tensors": row["tensors"], "size": _size(row["bytes"])}


def _task(tasks: Mapping[str, Any], number: object) -> str:
    """Say which of the tasks a file is from: they count from 0."""
    names = tasks["names"]
    if tasks["joint"] or not isinstance(number, int) or not 0 <= number < len(names):
        return f"{len(names)} tasks at once" if tasks["joint"] else f"{number} of {len(names)}"
    return f"{number} ({names[number]}), of {len(names)} counted from 0"


def _remembered(row: Mapping[str, Any]) -> dict[str, Any]:
    count = row["examples"]
    examples = "" if count is None else f"{count:,}"
    return {"part": row["name"], "examples": examples, "tensors": row["tensors"], "size": _size(row["bytes"])}


def _parameter_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "module": row["module"] or "(the model itself)",
        "tensors": row["tensors"],
        "numbers": f"{row['numbers']:,}",
        "type": " ".join(row["dtypes"]),
    }


def _verdict(damage: Sequence[str] | None) -> Iterator[str]:
    if damage is None:
        yield "not verified: this kind of file holds no digests"
    elif damage:
        yield "damaged:"
        yield from (f"  {line}" for line in damage)
    else:
        yield "verified: every byte is the one that was written"


def pairs(values: Mapping[str, Any], indent: str = "  ") -> Iterator[str]:
    """Write names and values in two columns; what does not fit in a line goes below its name."""
    width = max((len(str(name)) for name, value in values.items() if not isinstance(value, Mapping)), default=0)
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}"
            yield from pairs(value, indent + "  ")
        else:
            first, *rest = _lines(value)
            yield f"{indent}{name:<{width}}  {first}".rstrip()
            yield from (f"{indent}{'':<{width}}  {line}" for line in rest)


def _lines(value: Any) -> list[str]:
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return [" ".join(_lines(item)[0] for item in value) or "none"]
    if isinstance(value, list):
        return [line for item in value for line in _lines(item)] or ["none"]
    if isinstance(value, float):
        return [f"{value:.6g}"]
    if value is None or value == {}:
        return ["none"]
    return str(value).splitlines() or [""]


def _table(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write rows of equal keys as aligned columns under their names."""
    rows = list(rows)
    names = list(rows[0])
    cells = [names, *([_lines(row.get(name))[0] for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        aligned = [
            f"{cell:>{width}}" if name in ALIGNED_RIGHT else f"{cell:<{width}}"
            for cell, width, name in zip(line, widths, names, strict=True)
        ]
        yield ("  " + "  ".join(aligned)).rstrip()


def _size(count: int) -> str:
    """Write a number of bytes in decimal units."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def finite(value: Any) -> Any:
    """Write infinities and NaN as text: JSON has no number for them."""
    if isinstance(value, Mapping):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
