"""`milepost train`: options in, a trained model and its exported form out; or the continuation of a run.

Promise: from the first moment to the last, a signal or the time limit ends the command with status 75, and the same
command with `--restart auto` does what is left, and no more: the rest of the steps, or the export alone.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from milepost.cli.interruption import Interrupted, Interruption
from milepost.cli.statuses import FINISHED, STOPPED, UNSAVED
from milepost.cli.task_options import given, task_options
from milepost.cli.time_limit import Limit, TimeLimit, find_limit

if TYPE_CHECKING:
    from milepost.archive import Archive
    from milepost.export import ExportRecord
    from milepost.model import Architecture
    from milepost.run import Reporter, Request, Result


@click.command("train")
@click.argument("options", metavar="OPTIONS.yaml", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("model.ckpt"),
              show_default=True, help="Where the trained model goes; its export goes beside it.")  # fmt: skip
@click.option("-r", "--override", "overrides", multiple=True, metavar="KEY=VALUE",
              help="Set an option, as in -r architecture.training.epochs=50; can be repeated.")  # fmt: skip
@click.option("-c", "--continue", "--restart", "restart", metavar="auto|FILE", default=None,
              help="Continue: 'auto' finds the unfinished run of these options, or starts one.")  # fmt: skip
@click.option("--time-limit", "asked", type=Limit(), metavar="LIMIT", default=None,
              help="Save and stop before so much time has passed since the start, as in 23:50:00 or 1-12; without it, "
                   "before the end of a SLURM job.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the output even when another run made it.")
@click.option("--export/--no-export", "exporting", default=True, show_default=True,
              help="Export the model at the end.")  # fmt: skip
@task_options
@click.pass_obj
def command(
    interruption: Interruption,
    options: Path,
    output: Path,
    overrides: tuple[str, ...],
    restart: str | None,
    asked: int | None,
    overwrite: bool,
    exporting: bool,
) -> int:
    """Train what OPTIONS.yaml describes.

    The run is kept in outputs/DATE/TIME. Stop it any time and continue with --restart auto: the result is the
    same to the last bit. A signal or the time limit makes it save, and leave with status 75.
    """
    limit = find_limit(asked, os.environ, now=time.monotonic(), wall=time.time())
    if output.suffix != ".ckpt":
        raise click.UsageError(
            f"expected an output named *.ckpt, found '{output}'. The exported model takes its name from it: "
            f"give -o {output.with_suffix('.ckpt')}"
        )
    from milepost.cli.validation import read_options

    validated, architecture = read_options(options, (*given(), *overrides), for_training=True, ancestor=restart is None)

    from milepost.run import Reporter, Request

    reporter = Reporter()
    exported = exported_name(output, architecture, reporter) if exporting else None
    replace = check_exported(exported, output, overwrite=overwrite) if exported else False
    result = trained(
        Request(validated, architecture, Path(), output, restart, overwrite), reporter, interruption, limit
    )
    if result.model is None:
        return unfinished(result, reporter)
    reporter.say(f"model: {result.model} · run: {result.directory}")
    if exported:
        export_once(result.model, exported, reporter, interruption, overwrite=replace)
    return FINISHED


def trained(request: "Request", reporter: "Reporter", interruption: Interruption, limit: TimeLimit | None) -> "Result":
    """Train; signals and the limit stop the loop at a step boundary."""
    from milepost.run import train
    from milepost.run.deadline import Deadline

    if limit is not None:
        reporter.say(str(limit))
    deadline = None if limit is None else Deadline(limit.end, limit.seconds, renewed=limit.renewed)
    return train(request, reporter, signals=interruption.deferred(), deadline=deadline)


def unfinished(result: "Result", reporter: "Reporter") -> int:
    """Say what is kept of a run that did not come to its end, and return the exit status."""
    on = "continue with the same command and --restart auto"
    if result.outcome == "unsaved":
        reporter.say(
            f"step {result.step} is kept, what came after it found no space ({result.cause}); make space, and {on}"
        )
        return UNSAVED
    reporter.say(f"stopped at step {result.step} by {result.cause}; {on}")
    return STOPPED


def export_once(
    model: Path, target: Path, reporter: "Reporter", interruption: Interruption, *, overwrite: bool
) -> None:
    """Export the model that is there now, unless that was done before; a signal leaves the export to the next call."""
    try:
        interruption.check()
        if made_from(target, model):
            reporter.say(f"exported already: {target}")
            return
        from milepost.cli.export import export_to

        export_to(target, model, reporter.say, overwrite=overwrite)
    except Interrupted as stop:
        stop.add_note(f"the model is in '{model}', its export is not made")
        raise


def exported_name(model: Path, architecture: "Architecture", reporter: "Reporter") -> Path | None:
    """Name the file that the model will be exported to; none, and say why, where this machine can write no format."""
    from milepost.errors import MissingDependencyError
    from milepost.export.deployment import deployment_for

    try:
        return model.with_suffix(deployment_for(architecture).default_suffix())
    except MissingDependencyError as error:
        reporter.say(f"the model will not be exported: {error}")
        return None


def check_exported(target: Path, model: Path, *, overwrite: bool) -> bool:
    """Tell whether the exported model may replace what has its name; refuse another file before a run starts.

    What the run of the model that lies under the output's name made goes the way that model goes.
    """
    if overwrite or made_by_its_run(target, model):
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
    return _agree(target, model, lambda archive, record: record.source == archive.digest)


def made_by_its_run(target: Path, model: Path) -> bool:
    """Tell whether an exported model is of the run of the checkpoint that is there now, if of an earlier step."""
    return _agree(
        target,
        model,
        lambda archive, record: bool(record.run_id) and record.run_id == archive.manifest.extra.get("run_id"),
    )


def _agree(target: Path, model: Path, test: Callable[["Archive", "ExportRecord"], bool]) -> bool:
    """Test an exported model's record against a checkpoint; false where either is absent or something else."""
    if not (target.is_file() and model.is_file()):
        return False
    from milepost.archive import Archive
    from milepost.errors import ArchiveError
    from milepost.export import find_record

    record = find_record(target)
    if record is None:
        return False
    try:
        with Archive.open(model) as archive:
            return test(archive, record)
    except ArchiveError:
        return False
