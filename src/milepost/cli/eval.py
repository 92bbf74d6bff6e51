"""`milepost eval`: a trained model and a data set in, errors and predictions out."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from milepost.atoms.evaluation import Evaluation


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
    from milepost.options import load_options

    asked = load_options(options, EvaluationOptions, overrides)
    check_files(model, output, overwrite=overwrite)
    from milepost.atoms.opening import open_potential

    opened = open_potential(model, device=device)
    click.echo(f"evaluating {opened.metadata.get('name') or 'a model'} from {model} ({opened.kind})", err=True)
    found = evaluate_engine(opened.engine, read_structures(asked, Path()), asked)
    for line in (*description(opened.metadata), f"{model} ({opened.kind}): {results(found)}"):
        click.echo(line)
    if output is not None:
        write_predictions(output, found.predictions, overwrite=overwrite)
        click.echo(f"predictions: {output}")
    return 0


def check_files(model: Path, output: Path | None, *, overwrite: bool) -> None:
    """Refuse, before anything is opened, a model that is not there and an output that is."""
    from milepost.errors import NotAnArchiveError, OverwriteError

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


def results(found: "Evaluation") -> str:
    """Write what was measured: how much data, an error a line, the time."""
    lines = [f"{found.frames} frames, {found.atoms} atoms"]
    for name, value in found.metrics.items():
        target, _, kind = name.rpartition("_")
        lines.append(f"{target:>8} {kind.upper():<4} {value:10.5g} {found.units[name]}")
    return "\n".join([*lines, f"{1e6 * found.seconds_per_atom:.1f} µs per atom"])


def description(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Write what authors say of their model, where they do: its name, what it is, and what to cite."""
    from milepost.atoms.exporting_metadata import REFERENCES

    name, text, authors = (metadata.get(key) for key in ("name", "description", "authors"))
    if name:
        yield f"model: {name}" + (f", by {', '.join(authors)}" if authors else "")
    if text:
        yield str(text).rstrip()
    references = metadata.get("references", {})
    kinds = dict.fromkeys((*REFERENCES, *references))
    cited = [f"  {kind}: {one}" for kind in kinds for one in references.get(kind, [])]
    if cited:
        yield from ("please cite:", *cited)
