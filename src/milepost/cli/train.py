"""`milepost train`: options in, a trained model and its exported form out; or the continuation of a run."""

from pathlib import Path

import click

STOPPED = 75
"""Exit status of a run that was asked to stop and can be continued: EX_TEMPFAIL of sysexits.h."""


@click.command("train")
@click.argument("options", metavar="OPTIONS.yaml", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("model.ckpt"),
              show_default=True, help="Where the trained model goes; its export goes beside it.")  # fmt: skip
@click.option("-r", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
              help="Set an option, as in -r architecture.training.epochs=50; can be repeated.")  # fmt: skip
@click.option("-c", "--continue", "--restart", "restart", metavar="auto|FILE", default=None,
              help="Continue: 'auto' finds the unfinished run of these options, or starts one.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output even when another run made it.")
@click.option("--export/--no-export", "exporting", default=True, show_default=True,
              help="Export the model at the end.")  # fmt: skip
def command(
    options: Path,
    output: Path,
    overrides: tuple[str, ...],
    restart: str | None,
    overwrite: bool,
    exporting: bool,
) -> int:
    """Train what OPTIONS.yaml describes.

    The run is kept in outputs/DATE/TIME. Stop it any time and continue with --restart auto: the result is the
    same to the last bit.
    """
    if output.suffix != ".ckpt":
        raise click.UsageError(
            f"expected an output named *.ckpt, found '{output}'. The exported model takes its name from it: "
            f"give -o {output.with_suffix('.ckpt')}"
        )
    exported = output.with_suffix(".pt")
    replace = check_exported(exported, output, overwrite=overwrite) if exporting else False
    from milepost.cli.validation import read_options

    validated, architecture = read_options(options, overrides, for_training=True, ancestor=restart is None)

    from milepost.run import Reporter, Request, train

    reporter = Reporter()
    result = train(Request(validated, architecture, Path(), output, restart, overwrite), reporter)
    if result.model is None:
        reporter.say(f"stopped at step {result.step}; continue with the same command and --restart auto")
        return STOPPED
    reporter.say(f"model: {result.model} · run: {result.directory}")
    if exporting and made_from(exported, result.model):
        reporter.say(f"exported already: {exported}")
    elif exporting:
        from milepost.cli.export import export_beside

        export_beside(result.model, reporter.say, overwrite=replace)
    return 0


def check_exported(target: Path, model: Path, *, overwrite: bool) -> bool:
    """Tell whether the exported model may replace what has its name; refuse another file before a run starts.

    What was made from the model that lies under the output's name goes the way that model goes.
    """
    if overwrite or made_from(target, model):
        return True
    if target.exists():
        from milepost.errors import OverwriteError

        raise OverwriteError(
            f"could not train: expected the name '{target}' free for the exported model, or the export of "
            f"'{model}', found another file. Name another output with -o, give --overwrite, or --no-export."
        )
    return False


def made_from(target: Path, model: Path) -> bool:
    """Tell whether an exported model was made from the checkpoint that is there now."""
    if not (target.is_file() and model.is_file()):
        return False
    from milepost.archive import Archive
    from milepost.errors import ArchiveError
    from milepost.export import find_record

    record = find_record(target)
    try:
        with Archive.open(model) as archive:
            return record is not None and record.source == archive.digest
    except ArchiveError:
        return False
