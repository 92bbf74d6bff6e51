"""`milepost architectures`: what is installed and can be trained."""

import json

import click


@click.command("architectures")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """List the architectures that can be trained.

    Any installed package can add one: by an entry point in the group milepost.architectures.
    """
    from milepost.model import architectures

    found = architectures()
    if as_json:
        rows = [{"name": a.name, "version": a.version, "summary": a.summary, "domain": a.domain.module} for a in found]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    width = max((len(a.name) for a in found), default=0)
    for architecture in found:
        click.echo(f"{architecture.name:<{width}}  version {architecture.version}  {architecture.summary}")
    if not found:
        click.echo("none is installed")
    return 0
