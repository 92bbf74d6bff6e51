"""`milepost show`: what a file is, where it came from, and what is in it."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

ALIGNED_RIGHT = ("tensors", "numbers", "size", "found", "allowed")


@click.command("show")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--verify", is_flag=True, help="Also read every byte and compare it with its digest.")
def command(file: Path, as_json: bool, verify: bool) -> int:
    """Say what FILE is and what is in it: a checkpoint or an exported model, told by its content.

    Nothing in the file is run. The status is 1 when --verify finds damage.
    """
    from milepost.cli.contents import damages, describe

    contents = describe(file)
    damage = damages(file) if verify else None
    if verify:
        contents = {**contents, "damage": damage}
    if as_json:
        click.echo(json.dumps(_finite(contents), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(page(contents)))
    return 1 if damage else 0


def page(contents: Mapping[str, Any]) -> Iterator[str]:
    """Write a file's description for people, line by line."""
    yield contents["file"]
    yield from _pairs(_head(contents))
    for title, key in (
        ("metadata", "metadata"),
        ("metrics at the latest evaluation", "metrics"),
        ("fixed by the data", "facts"),
        ("environment", "environment"),
    ):
        if contents.get(key):
            yield from ("", title, *_pairs(contents[key]))
    if contents.get("components"):
        yield from ("", "sizes by component", *_table(map(_sized, contents["components"])))
    if contents.get("parameters"):
        rows = [_parameter_row(row) for row in contents["parameters"]]
        yield from ("", "parameters and buffers by module", *_table(rows))
    if contents.get("parity"):
        rows = [{"quantity": name, **values} for name, values in contents["parity"].items()]
        yield from ("", "largest deviation from the trained model", *_table(rows))
    if contents.get("options"):
        yield from ("", "options", *(f"  {line}" for line in contents["options"].splitlines()))
    if "damage" in contents:
        yield from ("", *_verdict(contents["damage"]))


def _head(contents: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what identifies the file."""
    form = contents.get("format") or f"format {contents.get('format_version')}"
    architecture = contents.get("architecture") or {}
    version = architecture.get("version")
    head = {
        "kind": f"{contents['kind']} ({form}), {_size(contents['bytes'])}",
        "digest": contents.get("digest"),
    }
    if architecture.get("name"):
        head["architecture"] = architecture["name"] + (f", version {version}" if version else "")
    head |= {name: contents.get(name) for name in ("run_id", "step", "epoch", "created")}
    if "source" in contents and isinstance(contents["source"], str):
        head["made from"] = contents["source"]
    elif "parents" in contents:
        head["started from"] = contents["parents"] or "no other file"
    return {name.replace("run_id", "run"): value for name, value in head.items() if value is not None}


def _sized(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"component": row["name"], "tensors": row["tensors"], "size": _size(row["bytes"])}


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


def _pairs(values: Mapping[str, Any], indent: str = "  ") -> Iterator[str]:
    """Write names and values in two columns; what does not fit in a line goes below its name."""
    width = max((len(str(name)) for name, value in values.items() if not isinstance(value, Mapping)), default=0)
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}"
            yield from _pairs(value, indent + "  ")
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


def _finite(value: Any) -> Any:
    """Write infinities and NaN as text: JSON has no number for them."""
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
