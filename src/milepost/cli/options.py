"""`milepost options`: what can be set, and what a file sets."""

import json
from pathlib import Path

import click


@click.group("options", no_args_is_help=True)
def command() -> None:
    """Print what can be set, as a JSON schema or as a file with every default written out."""


@command.command("schema")
@click.argument("architecture", required=False)
def schema(architecture: str | None) -> int:
    """Print the JSON schema of the options of ARCHITECTURE.

    Editors complete and check an options file with it. The name may be left out when one architecture is
    installed.
    """
    from milepost.model import architectures, find_architecture
    from milepost.options import json_schema, limit_architectures

    if architecture is None:
        names = [a.name for a in architectures()]
        if len(names) != 1:
            raise click.UsageError(f"expected the name of an architecture, one of {', '.join(names) or 'none'}.")
        architecture = names[0]
    root = limit_architectures(find_architecture(architecture).options_class(), [architecture])
    click.echo(json.dumps(json_schema(root), indent=2, ensure_ascii=False))
    return 0


@command.command("expand")
@click.argument("options", metavar="OPTIONS.yaml", type=click.Path(path_type=Path))
@click.option("-r", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
              help="Set an option, as in -r architecture.training.epochs=50; can be repeated.")  # fmt: skip
def expand(options: Path, overrides: tuple[str, ...]) -> int:
    """Print OPTIONS.yaml with every default written out, its unit and its meaning beside it.

    This is what a run keeps as its options.yaml. Files that the options name need not exist.
    """
    from milepost.cli.validation import read_options
    from milepost.options import expanded_yaml

    validated, _ = read_options(options, overrides)
    click.echo(expanded_yaml(validated), nl=False)
    return 0
