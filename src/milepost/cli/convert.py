"""`milepost convert`: old files to ones of today, and weights to and from other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from milepost.cli.terminal import say

if TYPE_CHECKING:
    from milepost.archive import Tree
    from milepost.checkpoint import Checkpoint
    from milepost.checkpoint.converting import Arrangement, Conversion
    from milepost.checkpoint.foreign import ForeignFile


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), required=True,
              help="A .ckpt, .safetensors or .pt file; nothing is ever replaced.")  # fmt: skip
@click.option("--weights", type=click.Choice(["raw", "average"]), default=None,
              help="Weights for a .safetensors or .pt file.  [default: average, where there is one]")  # fmt: skip
@click.option("--to", "program", type=click.Choice(["mammoth"]), default=None,
              help="Lay a checkpoint out for another program: a .pt file with its keys.")  # fmt: skip
def command(
    source: Path, target: Path, weights: Literal["raw", "average"] | None, program: Literal["mammoth"] | None
) -> int:
    """Write SOURCE, a checkpoint or a file of another program, as another kind of file.

    The ending of the output chooses: .ckpt brings a checkpoint to the versions of today, or takes in all tensors and
    plain metadata of another program's file; .safetensors and .pt hold weights by name, the latter as the plain state
    dict that torch.load(weights_only=True) opens. Nothing in SOURCE is run. The output is read back and compared
    before it gets its name.
    """
    from milepost.checkpoint.converting import convert

    if program is None:
        done = convert(source, target, weights=weights, arrange={"lightning checkpoint": lightning}, renew=learner)
    else:
        done = _for_mammoth(source, target, weights)
    for note in done.notes:
        say(note)
    count = "1 tensor" if done.tensors == 1 else f"{done.tensors} tensors"
    say(f"{done.target}: {count}, {done.form} (from a {done.kind})")
    return 0


def _for_mammoth(source: Path, target: Path, weights: str | None) -> "Conversion":
    """Lay a classifier's checkpoint out as Mammoth has its own, which knows no averaged weights."""
    from milepost.checkpoint.converting import convert_for
    from milepost.images.mammoth import laid_out

    if weights is not None:
        raise click.UsageError("expected one of --to and --weights, found both. Mammoth takes the raw weights.")
    return convert_for("Mammoth", source, target, laid_out)


def learner(
    checkpoint: "Checkpoint", options: "dict[str, Any]", state: "dict[str, Tree]", notes: list[str]
) -> dict[str, int]:
    """Carry what a learner remembers to the version that is installed."""
    from milepost.run.versions import renewed

    return renewed(checkpoint, options, state, notes)


def lightning(found: "ForeignFile") -> "Arrangement | None":
    """Lay out a file of Lightning's so that a Trainer with Milepost's plug-in resumes from it, where that is there."""
    from milepost.errors import MissingDependencyError

    try:
        from milepost.lightning.converting import arranged
    except MissingDependencyError:
        return None
    return arranged(found)
