"""Put a run's best model under the name that the user gave, and measure it.

Promise: what lies under the name is whole at every instant, and is never another run's model that was replaced in
silence. Failure: OverwriteError before anything is computed.
"""

import json
import shutil
from pathlib import Path

from milepost.archive import atomic_write
from milepost.checkpoint import describe_checkpoint, list_checkpoints, ranked
from milepost.errors import OverwriteError
from milepost.learning import TaskMatrix
from milepost.options import CheckpointsOptions
from milepost.run.directory import RunDirectory, write_text
from milepost.run.domain import Prepared
from milepost.run.progress import Reporter
from milepost.run.task_pictures import TaskPictures
from milepost.run.trained import open_trained


def check_output(output: Path, run_id: str | None, *, overwrite: bool) -> None:
    """Refuse to replace a model that another run made; make the folder that the model goes to."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if overwrite or not output.exists():
        return
    present = describe_checkpoint(output)
    owner = present.run_id if present is not None else None
    if run_id is not None and owner == run_id:
        return
    other = "a file of a newer version" if present is not None and present.too_new else "another file"
    raise OverwriteError(
        f"could not put the model under '{output}': expected no file or this run's own model, found "
        f"{f'the model of run {owner}' if owner else other}. "
        "Name another file with -o, or give --overwrite; a run that is done already publishes again with "
        "--restart auto."
    )


def publish(
    output: Path,
    directory: RunDirectory,
    options: CheckpointsOptions,
    last_saved: Path | None,
    *,
    overwrite: bool,
    newest: bool = False,
) -> None:
    """Put the best checkpoint, or the last where none is best or the `newest` is wanted, under the user's name."""
    run_id = directory.record.run_id
    own = [e for e in list_checkpoints(directory.checkpoints, verify=True) if e.run_id == run_id]
    best = ranked(own, options.monitor, options.mode) if options.keep_best and not newest else []
    chosen = best[0].path if best else last_saved
    if chosen is None:
        return
    check_output(output, run_id, overwrite=overwrite)
    with Path(chosen).open("rb") as stream:
        atomic_write(output, lambda target: shutil.copyfileobj(stream, target), overwrite=True)


def report_errors(output: Path, directory: RunDirectory, prepared: Prepared, reporter: Reporter) -> None:
    """Measure the published model on every set, tell the user, and keep the figures with the run."""
    device = next(prepared.model.parameters()).device
    model = open_trained(output, device=device).predictor
    found = {name: prepared.evaluate(model, s) for name, s in prepared.sets.items() if len(s)}
    for name, metrics in found.items():
        shown = "  ".join(
            f"{metric} {value:.4g} {prepared.units.get(metric.split('_')[0], '')}".rstrip()
            for metric, value in metrics.items()
        )
        reporter.say(f"errors on the {name} set: {shown}")
    write_text(directory.path / "errors.json", json.dumps(found, indent=2) + "\n")


def report_matrix(matrix: TaskMatrix, directory: RunDirectory, reporter: Reporter) -> None:
    """Show how well every task is done after each task, and draw it into the run's directory."""
    for metric in matrix.metrics:
        reporter.say(f"{metric} on each task (columns) after each task (rows):\n{matrix.table(metric)}")
    matrix.write(directory.path)
    TaskPictures(directory.path, reporter.say).draw(matrix)
