"""`milepost learners`: what can keep a model from forgetting."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from milepost.learning import LearnerSpec


@click.command("learners")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """List the learners that a sequence of tasks can be trained with, and their options.

    Any installed package can add one: by an entry point in the group milepost.learners.
    """
    from milepost.learning.registry import learners

    found = list(learners())
    if as_json:
        rows = [{"name": s.name, "version": s.version, "summary": s.summary, "options": _keys(s)} for s in found]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    width = max((len(spec.name) for spec in found), default=0)
    for spec in found:
        keys = ", ".join(_keys(spec))
        click.echo(f"{spec.name:<{width}}  {spec.summary}{f' ({keys})' if keys else ''}")
    if not found:
        click.echo("none is installed")
    return 0


def _keys(spec: "LearnerSpec") -> list[str]:
    """List what can be set, beside the name."""
    return [key for key in spec.options.model_fields if key != "name"]
