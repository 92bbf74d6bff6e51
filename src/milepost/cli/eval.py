"""`milepost eval`: a trained model and a data set in, errors and predictions out."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click


@click.command("eval")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("options", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None,
              help="Write the predictions here: of a potential as extended XYZ, of a classifier as CSV.")  # fmt: skip
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

    For a potential OPTIONS holds `systems: {read_from: FILE}` and `targets: {energy: {key, unit, forces, stress}}`,
    as in training; for a classifier the name of a `benchmark`, or the files `images` and `labels`.
    """
    check_files(model, output, overwrite=overwrite)
    from milepost.export.deployment import deployment_of
    from milepost.options import load_options

    deployment = deployment_of(model)
    asked = load_options(options, deployment.evaluation_options, overrides)
    opened = deployment.open(model, device=device)
    click.echo(f"evaluating {opened.metadata.get('name') or 'a model'} from {model} ({opened.kind})", err=True)
    found = deployment.evaluate(opened, asked, Path())
    for line in (*description(opened.metadata), f"{model} ({opened.kind}): {found.summary()}"):
        click.echo(line)
    if output is not None:
        found.write(output, overwrite=overwrite)
        click.echo(f"predictions: {output}")
    return 0


def check_files(model: Path, output: Path | None, *, overwrite: bool) -> None:
    """Refuse, before anything is opened, a model that is not there and an output that is."""
    from milepost.errors import NotAnArchiveError, OverwriteError

    if not model.is_file():
        raise NotAnArchiveError(
            f"could not evaluate '{model}': expected a trained model, found no such file. "
            "Give a .ckpt, .pt, .pt2 or .onnx file."
        )
    if output is not None and output.exists() and not overwrite:
        raise OverwriteError(
            f"could not write predictions to '{output}': expected a free name, found a file. "
            "Choose another name with -o, or allow replacing it with --overwrite."
        )


def description(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Write what authors say of their model, where they do: its name, what it is, and what to cite."""
    from milepost.export.metadata import REFERENCES

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
