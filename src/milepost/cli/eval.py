"""`milepost eval`: a trained model and a data set in, errors and predictions out."""

from pathlib import Path

import click


@click.command("eval")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("options", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None,
              help="Write the predictions here, as extended XYZ.")  # fmt: skip
@click.option("-r", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
              help="Set an option, as in -r systems.read_from=other.xyz; can be repeated.")  # fmt: skip
@click.option("--device", default=None, help="Device to compute on.  [default: where the model was made]")
@click.option("--overwrite", is_flag=True, help="Replace the output.")
def command(
    model: Path,
    options: Path,
    output: Path | None,
    overrides: tuple[str, ...],
    device: str | None,
    overwrite: bool,
) -> int:
    """Measure the errors of MODEL, a checkpoint or an exported file, on the data that OPTIONS (YAML) names.

    OPTIONS holds `systems: {read_from: FILE}` and `targets: {energy: {key, unit, forces, stress}}`, as in
    training.
    """
    from milepost.atoms.evaluation import (
        EvaluationOptions,
        evaluate_engine,
        read_structures,
        write_predictions,
    )
    from milepost.errors import NotAnArchiveError, OverwriteError
    from milepost.options import load_options

    asked = load_options(options, EvaluationOptions, overrides)
    if not model.is_file():
        raise NotAnArchiveError(
            f"could not evaluate '{model}': expected a trained model, found no such file. "
            "Give a .ckpt, .pt or .pt2 file."
        )
    if output is not None and output.exists() and not overwrite:
        raise OverwriteError(
            f"could not write predictions to '{output}': expected a free name, found a file. "
            "Choose another name with -o, or allow replacing it with --overwrite."
        )
    from milepost.atoms.opening import open_potential

    opened = open_potential(model, device=device)
    found = evaluate_engine(opened.engine, read_structures(asked, Path()), asked)
    click.echo(f"{model} ({opened.kind}): {found.frames} frames, {found.atoms} atoms")
    for name, value in found.metrics.items():
        target, _, kind = name.rpartition("_")
        click.echo(f"{target:>8} {kind.upper():<4} {value:10.5g} {found.units[name]}")
    click.echo(f"{1e6 * found.seconds_per_atom:.1f} µs per atom")
    if output is not None:
        write_predictions(output, found.predictions, overwrite=overwrite)
        click.echo(f"predictions: {output}")
    return 0
