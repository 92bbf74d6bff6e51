"""`milepost train`: options in, a trained model and its exported form out; or the continuation of a run."""

from pathlib import Path

import click

STOPPED = 75
"""Exit status of a run that was asked to stop and can be continued: EX_TEMPFAIL of sysexits.h."""


@click.command("train")
@click.argument("options", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("model.ckpt"), show_default=True,
              help="Where the trained model goes; its exported form goes beside it.")  # fmt: skip
@click.option("-r", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
              help="Set an option, as in -r architecture.training.epochs=50; can be repeated.")  # fmt: skip
@click.option("-c", "--continue", "--restart", "restart", metavar="auto|FILE", default=None,
              help="Continue: 'auto' finds the unfinished run with these options, or starts a new one.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output even when another run made it.")
@click.option("--export/--no-export", "exporting", default=True, show_default=True,
              help="Export the model at the end.")  # fmt: skip
def command(
    options: Path, output: Path, overrides: tuple[str, ...], restart: str | None, overwrite: bool, exporting: bool
) -> int:
    """Train what OPTIONS (a YAML file) describes.

    The run is kept in outputs/DATE/TIME. Stop it any time and continue with --restart auto: the result is the same
    to the last bit.
    """
    from milepost.model import find_architecture
    from milepost.options import find_value, load_options

    name = find_value(options, "architecture.name", overrides)
    if not isinstance(name, str):
        from milepost.options import RootOptions

        load_options(options, RootOptions, overrides)
    architecture = find_architecture(str(name))
    from milepost.run import options_class

    validated = load_options(options, options_class(architecture), overrides)
    if output.suffix != ".ckpt":
        raise click.UsageError(f"expected an output named *.ckpt, found '{output}'")

    from milepost.run import Reporter, Request, train

    reporter = Reporter()
    result = train(Request(validated, architecture, Path(), output, restart, overwrite), reporter)
    if result.model is None:
        reporter.say(f"stopped at step {result.step}; continue with the same command and --restart auto")
        return STOPPED
    reporter.say(f"model: {result.model} · run: {result.directory}")
    if exporting:
        from milepost.cli.export import export_beside

        export_beside(result.model, reporter.say)
    return 0
