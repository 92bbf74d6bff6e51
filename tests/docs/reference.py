"""Make the tables of the reference pages from the program itself.

    python tests/docs/reference.py

rewrites `cli.md`, `options.md`, `learners.md` and `resuming-options.md` in `docs/reference/` between their marks; a
test compares them.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from milepost.cli.main import VERBS, group
from milepost.learning.registry import learners
from milepost.model import find_architecture
from milepost.options import load_options
from milepost.options.expectation import expected
from milepost.options.model import plain_data
from milepost.options.schema import Schema
from milepost.run.compatibility import CHANGES, RULES

PAGES = Path(__file__).parents[2] / "docs" / "reference"
START = "<!-- made by `python tests/docs/reference.py` -->"
END = "<!-- end -->"
WIDTH = 100
ARCHITECTURE = "cairn"
LEAST = f"{{architecture: {{name: {ARCHITECTURE}}}, training_set: {{systems: {{read_from: frames.xyz}}}}}}"
"""The smallest options file: it tells what is required and, read back, every default."""

CLASSIFIERS = ("mlp", "resnet18", "timm")

SECTIONS = (
    "architecture.model",
    "architecture.training",
    "learner",
    "course",
    "checkpoints",
    "training_set",
    "validation_set",
)
HELD_OUT = ("validation_set", "test_set")


def commands() -> Iterator[tuple[str, click.Command]]:
    """List every verb, and what a verb has below it, by full name."""
    context = click.Context(group, info_name="milepost")
    for verb in VERBS:
        command = group.get_command(context, verb)
        if command is None:
            raise LookupError(f"expected a command for the verb '{verb}', found none")
        yield verb, command
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield f"{verb} {name}", inner


def cli() -> str:
    """Write the help of every command."""
    parts: list[str] = []
    for name, command in commands():
        settings: Any = {**group.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
        context = click.Context(command, info_name=f"milepost {name}", **settings)
        parts += [f"### milepost {name}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(parts)


def options() -> str:
    """Write a table for every section of the options."""
    model = find_architecture(ARCHITECTURE).options_class()
    defaults = plain_data(load_options(None, model, text=LEAST))
    schema = Schema.of(model)
    parts = ["### General", "", *_table(_general(schema, defaults), "")]
    for section in SECTIONS:
        place = schema.at(section.split("."))
        title = " and ".join(f"`{name}`" for name in (HELD_OUT if section in HELD_OUT else [section]))
        rows = _rows(place, _value(defaults, section), "")
        about = "A section for either" if section in HELD_OUT else _sentence(place)
        parts += [f"### {title}", "", f"{about}.", "", *_table(rows, section)]
    return "\n".join([*parts, *classifiers()])


def classifiers() -> Iterator[str]:
    """Write what the architectures for images have of their own: tasks, models, and defaults of the training."""
    for name in CLASSIFIERS:
        model = find_architecture(name).options_class()
        schema, defaults = (
            Schema.of(model),
            plain_data(load_options(None, model, text=f"architecture: {{name: {name}}}")),
        )
        if name == CLASSIFIERS[0]:
            place = schema.at(["tasks"])
            yield from ("### `tasks` of classifiers", "", f"{_sentence(place)}.", "")
            yield from _table(_rows(place, defaults["tasks"], ""), "tasks")
            yield from ("Of a list of tasks, each has:", "")
            yield from _table(_rows(place.child(0), {}, ""), "tasks")
            training = schema.at(["architecture", "training"])
            differing = _differing(training, defaults["architecture"]["training"])
            yield from ("### `architecture.training` of classifiers", "", "Defaults that differ:", "")
            yield from _table(differing, "architecture.training")
        place = schema.at(["architecture", "model"])
        yield from (f"### `architecture.model` of `{name}`", "")
        yield from _table(_rows(place, defaults["architecture"]["model"], ""), name)


def _differing(place: Schema, defaults: Any) -> Iterator[tuple[str, str, str, str]]:
    """List the options whose default is another one than for the architecture of the tables above."""
    other = plain_data(load_options(None, find_architecture(ARCHITECTURE).options_class(), text=LEAST))
    others = {row[0]: row[2] for row in _rows(place, other["architecture"]["training"], "")}
    return (row for row in _rows(place, defaults, "") if row[2] != others[row[0]])


def _general(schema: Schema, defaults: Any) -> Iterator[tuple[str, str, str, str]]:
    for key in ("seed", "device", "base_precision", "architecture.name", "tasks", "validation_set", "test_set"):
        yield _row(key, schema.at(key.split(".")), _value(defaults, key))


def _rows(place: Schema, defaults: Any, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for key, inner in place.properties.items():
        default = defaults.get(key, inner.node.get("default", ...)) if isinstance(defaults, dict) else ...
        if default is ... and isinstance(inner.node.get("default", ...), str | float | int | bool | None):
            default = inner.node.get("default", ...)
        sections = [choice for choice in inner.choices if choice.properties]
        if sections and len(inner.choices) == 1 and isinstance(default, dict | type(...)):
            yield from _rows(inner, default, f"{prefix}{key}.")
        else:
            yield _row(prefix + key, inner, default)


def _row(key: str, place: Schema, default: Any) -> tuple[str, str, str, str]:
    if key == "architecture.name" or (key.endswith("read_from") and default == "frames.xyz"):
        default = ...
    shown = "required" if default is ... else f"`{_plain(default)}`"
    return f"`{key}`", expected(place), shown, _sentence(place)


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items()) + "}"
    return str(value)


def _value(data: Any, key: str) -> Any:
    for part in key.split("."):
        data = data.get(part, ...) if isinstance(data, dict) else ...
    return data


def _sentence(place: Schema) -> str:
    text = " ".join(str(place.node.get("description", "")).split()).rstrip(".")
    return text[:1].upper() + text[1:]


def _table(rows: Iterator[tuple[str, str, str, str]], section: str) -> list[str]:
    cells = [("key", "value", "default", "meaning"), *rows]
    if len(cells) < 2:
        raise LookupError(f"expected keys in the section '{section}', found none")
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return [lines[0], "|---|---|---|---|", *lines[1:], ""]


def learner_keys() -> str:
    """Write a table of keys for every learner that comes with Milepost."""
    parts: list[str] = []
    for spec in learners():
        if spec.build.module.startswith("milepost.learning."):
            defaults = plain_data(spec.options(name=spec.name))
            rows = [row for row in _rows(Schema.of(spec.options), defaults, "") if row[0] != "`name`"]
            summary = spec.summary[:1].upper() + spec.summary[1:]
            parts += [f"### `{spec.name}`", "", f"{summary}.{'' if rows else ' It has no keys.'}", ""]
            parts += _table(iter(rows), spec.name) if rows else []
    return "\n".join(parts)


def resuming() -> str:
    """Write the classes of options for a run that goes on, a table for each class."""
    parts: list[str] = []
    for change in CHANGES:
        refused = change == "refused"
        rules = [rule for rule in RULES if rule.change == change]
        parts += [f"### {change.capitalize()}", "", f"| options | why |{' instead |' if refused else ''}"]
        parts += ["|---|---|" + ("---|" if refused else "")]
        for rule in rules:
            keys = ", ".join(f"`{key}`{' *' if rule.identifies else ''}" for key in rule.keys)
            parts += [f"| {keys} | {rule.why} |" + (f" {rule.remedy} |" if refused else "")]
        parts += [""]
    return "\n".join(parts)


MADE: dict[str, Callable[[], str]] = {
    "cli.md": cli,
    "options.md": options,
    "learners.md": learner_keys,
    "resuming-options.md": resuming,
}


def current(name: str) -> str:
    """Return what a page has between its marks."""
    return (PAGES / name).read_text(encoding="utf-8").split(START)[1].split(END)[0]


def framed(name: str) -> str:
    """Return what a page should have between its marks."""
    return "\n\n" + re.sub(r"[ \t]+$", "", MADE[name](), flags=re.MULTILINE).strip() + "\n\n"


def main() -> None:
    """Rewrite the pages."""
    for name in MADE:
        page = PAGES / name
        before, _, rest = page.read_text(encoding="utf-8").partition(START)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{START}{framed(name)}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
