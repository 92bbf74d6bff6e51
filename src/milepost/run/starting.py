"""Take up a request to train: find or make the run's directory, lock it, and check what it is to go on from.

Failure: ResumeError where the run can't be continued with these options, OverwriteError where the output holds another
run's model; both before anything is computed.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from milepost.checkpoint import load_checkpoint
from milepost.learning import find_learner
from milepost.model import Architecture
from milepost.options import RootOptions, TrainingOptions, find_value, load_options
from milepost.run.directory import RunDirectory, new_run
from milepost.run.loadcheck import Given
from milepost.run.loop import Outcome
from milepost.run.progress import Reporter
from milepost.run.publishing import check_output
from milepost.run.resume import Start, check_options, check_version, find_start, identity
from milepost.run.versions import options_of_today


@dataclass(frozen=True)
class Result:
    """Say how a run ended, and where its model is; `model` is None when the run was stopped.

    `step` is the one that is kept; `cause` names the signal, or says that it was the time limit. "unsaved" is a run
    that ended or was stopped with a state or a model that found no space; it can be continued.
    """

    outcome: Outcome
    directory: Path
    model: Path | None
    step: int
    cause: str = ""


@dataclass(frozen=True)
class Request:
    """Hold what the user asked for. Paths are relative to `folder`; runs are kept in `folder/outputs`."""

    options: RootOptions
    architecture: Architecture
    folder: Path
    output: Path
    restart: str | None = None
    overwrite: bool = False

    @property
    def training(self) -> TrainingOptions:
        """The architecture's training options."""
        return cast(TrainingOptions, self.options.architecture.training)


def located(
    request: Request, reporter: Reporter, given: Callable[[], Given | None] = lambda: None
) -> tuple[Start, RunDirectory]:
    """Find where to start, and lock it; if another process worked on it until then, look again.

    `given` opens the file that the options begin with, where there is nothing to go on from.
    """
    root = request.folder / "outputs"
    while True:
        start = find_start(root, request.options, request.restart, request.output)
        for message in start.messages:
            reporter.say(message)
        run_id = None if start.directory is None else start.directory.record.run_id
        check_output(request.output, run_id, overwrite=request.overwrite)
        if start.checkpoint is None:
            file = given()
            start = replace(start, given=file, checkpoint=file.path if file is not None and file.whole else None)
        if start.checkpoint is not None:
            start = replace(start, saved=_saved_options(request, start.checkpoint, start.given, reporter))
        directory = start.directory or new_run(root, identity(request.options), alone=request.restart == "auto")
        seen = directory.record
        directory.acquire()
        if directory.record == seen:
            return start, directory
        directory.release()


def note_stop(directory: RunDirectory, error: BaseException) -> None:
    """Say of a run that was left outside of its loop where it stands."""
    step = directory.record.step
    if step:
        error.add_note(f"step {step} is kept in '{directory.path}'")
    if directory.record.state == "running":
        signal_name = getattr(getattr(error, "received", None), "name", type(error).__name__)
        with suppress(OSError):  # the record is a hint, and the reason to leave goes first
            directory.update("stopped", step, signal_name)


def _saved_options(request: Request, path: Path, given: Given | None, reporter: Reporter) -> RootOptions:
    """Return the options of the checkpoint that a run goes on from, or begins with, where those at hand may follow."""
    with load_checkpoint(path) as checkpoint:
        check_version(checkpoint, request.architecture)
        # What another learner has for options, this one's class does not know: then any keys will do.
        learner = find_value(path, "learner.name", text=checkpoint.options_yaml) or "finetune"
        same = learner == request.options.learner.name
        text = checkpoint.options_yaml
        if same:
            text = options_of_today(checkpoint, find_learner(request.options.learner.name))
        kind = type(request.options) if same else request.architecture.options_class()
        saved = load_options(path, kind, text=text)
        begins = None if given is None else given.where
        for message in check_options(saved, request.options, checkpoint, begins_with=begins):
            reporter.say(message)
        return saved
