"""`milepost export`: a checkpoint in, a file that other programs run out, or new metadata."""

from collections.abc import Callable
from pathlib import Path

import click


@click.command("export")
@click.argument("files", metavar="[ARCHITECTURE] MODEL", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None,
              help="A .pt2 file (compiled); of a potential also .pt (metatomic), of a classifier .onnx; or a .ckpt "
                   "file, with --metadata.  [default: MODEL.pt or MODEL.onnx]")  # fmt: skip
@click.option("-m", "--metadata", type=click.Path(path_type=Path), default=None,
              help="YAML file: name, description, authors, references; other keys are kept.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="Device that a .pt2 file is compiled for.")
@click.option("--overwrite", is_flag=True, help="Replace the output even when another run made it.")
def command(files: tuple[str, ...], output: Path | None, metadata: Path | None, device: str, overwrite: bool) -> int:
    """Export the checkpoint MODEL.

    The exported file is compared with the trained model on inputs of several sizes before it takes its
    name. The name of an architecture before MODEL is accepted and not needed.
    """
    if len(files) > 2:
        raise click.UsageError(f"expected [ARCHITECTURE] MODEL, found {' '.join(files)}")
    model = Path(files[len(files) - 1])
    describing = output is not None and output.suffix == ".ckpt"
    if describing and metadata is None:
        raise click.UsageError(f"expected --metadata FILE for the checkpoint '{output}', found none")
    check_is_checkpoint(model, files[0] if len(files) == 2 else None)
    about = None
    if metadata is not None:
        from milepost.export.metadata import read_metadata

        about, notes = read_metadata(metadata)
        for note in notes:
            click.echo(f"note: {note}", err=True)
    if output is not None and about is not None and describing:
        from milepost.export.metadata import write_described

        digest = write_described(model, output, about, overwrite=overwrite)
        click.echo(f"{output}: {digest}")
        return 0
    from milepost.export.deployment import deployment_of

    deployment = deployment_of(model)
    target = output or model.with_suffix(deployment.default_suffix())
    record = deployment.export(model, target, metadata=about, device=device, overwrite=overwrite)
    for name, found in record.parity.items():
        click.echo(f"{name}: within {found['found']:.1e} {found['unit']}".rstrip() + " of the trained model")
    click.echo(f"exported: {target}")
    return 0


def check_is_checkpoint(model: Path, architecture: str | None) -> None:
    """Refuse a file that can't be exported, before anything heavy is imported.

    Raises ExportError for an exported model and for another architecture, NotAnArchiveError for any other
    file, and the ArchiveError family for a damaged one.
    """
    from milepost.errors import ExportError, NotAnArchiveError

    if not model.is_file():
        raise NotAnArchiveError(
            f"could not export '{model}': expected a checkpoint, found no such file. Give the path of a .ckpt file."
        )
    from milepost.archive import Archive
    from milepost.cli.looks import appearance
    from milepost.export import find_record

    record = find_record(model)
    if record is not None:
        raise ExportError(
            f"could not export '{model}': expected a checkpoint, found a model that is exported already "
            f"({record.format}). Give the checkpoint that it was made from, with digest {record.source}."
        )
    try:
        with Archive.open(model) as archive:
            own = archive.manifest.extra.get("metadata", {}).get("architecture")
    except NotAnArchiveError as error:
        raise NotAnArchiveError(
            f"could not export '{model}': expected a checkpoint, found {appearance(model)}. Give a .ckpt file."
        ) from error
    if architecture is not None and own is not None and architecture != own:
        raise ExportError(
            f"could not export '{model}': expected a model of architecture '{architecture}', found '{own}'. "
            "Leave the architecture's name away."
        )


def export_to(target: Path, model: Path, say: Callable[[str], object], *, overwrite: bool = False) -> None:
    """Export a checkpoint, saying so."""
    from milepost.export.deployment import deployment_of

    deployment_of(model).export(model, target, overwrite=overwrite)
    say(f"exported: {target}")
