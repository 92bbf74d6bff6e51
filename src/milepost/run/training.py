"""Train a model from options: set up, continue where there is something to continue, save, finish.

`train` is the whole of a run seen from outside. What it promises is in `milepost.run.loop` (steps), `session` (state)
and `resume` (where it starts); here they are put together.
"""

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from milepost.archive import atomic_write
from milepost.checkpoint import (
    BackgroundSaver,
    CheckpointRecord,
    KeepBest,
    KeepLast,
    checkpoint_name,
    describe_checkpoint,
    discard_drafts,
    environment,
    list_checkpoints,
    load_checkpoint,
    mark_latest,
    ranked,
    retire,
)
from milepost.errors import DivergedError, OverwriteError
from milepost.model import Architecture, captured_source
from milepost.options import RootOptions, TrainingOptions, expanded_yaml, load_options
from milepost.run.device import choose_device
from milepost.run.directory import RunDirectory, new_run, write_text
from milepost.run.domain import Ancestor, Domain, Prepared
from milepost.run.loop import Loop, Outcome
from milepost.run.metrics_log import MetricsLog
from milepost.run.order import BatchOrder
from milepost.run.progress import Reporter
from milepost.run.resume import Start, check_options, check_split, check_version, find_start, identity
from milepost.run.session import TrainingState
from milepost.run.signals import StopSignals
from milepost.run.step import GradientStep, choose_mode
from milepost.run.trained import open_trained


@dataclass(frozen=True)
class Result:
    """Say how a run ended, and where its model is; `model` is None when the run was stopped."""

    outcome: Outcome
    directory: Path
    model: Path | None
    step: int


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


def train(request: Request, reporter: Reporter) -> Result:
    """Train to the end, or until a signal asks to stop; return where the model is.

    Raises OverwriteError before anything is computed when `output` holds another run's model, ResumeError when the
    run can't be continued with these options or data, DataError, and DivergedError.
    """
    start = find_start(request.folder / "outputs", request.options, request.restart, request.output)
    for message in start.messages:
        reporter.say(message)
    run_id = None if start.directory is None else start.directory.record.run_id
    check_output(request.output, run_id, overwrite=request.overwrite)
    if start.checkpoint is not None:
        _check_saved_options(request, start.checkpoint, reporter)
    directory = start.directory or new_run(request.folder / "outputs", identity(request.options))
    directory.acquire()
    try:
        with StopSignals() as signals:
            return _Run(request, directory, start, reporter, signals).execute()
    finally:
        directory.release()


def check_output(output: Path, run_id: str | None, *, overwrite: bool) -> None:
    """Refuse to replace a model that another run made; make the folder that the model goes to."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if overwrite or not output.exists():
        return
    present = describe_checkpoint(output)
    owner = present.run_id if present is not None else None
    if run_id is not None and owner == run_id:
        return
    raise OverwriteError(
        f"could not put the model under '{output}': expected no file or this run's own model, found "
        f"{f'the model of run {owner}' if owner else 'another file'}. "
        "Name another file with -o, or give --overwrite; a run that is done already publishes again with "
        "--restart auto."
    )


def _check_saved_options(request: Request, path: Path, reporter: Reporter) -> None:
    with load_checkpoint(path) as checkpoint:
        check_version(checkpoint, request.architecture)
        saved = load_options(None, type(request.options), text=checkpoint.options_yaml)
        for message in check_options(saved, request.options, checkpoint):
            reporter.say(message)


class _Run:
    """One process's share of a run."""

    def __init__(
        self, request: Request, directory: RunDirectory, start: Start, reporter: Reporter, signals: StopSignals
    ) -> None:
        self.request, self.directory, self.start = request, directory, start
        self.reporter, self.signals = reporter, signals
        self.options_yaml = expanded_yaml(request.options)
        self.source = {k.removeprefix("source/"): v for k, v in captured_source(request.architecture).items()}
        self.parents: tuple[str, ...] = ()
        self.last_saved: Path | None = start.checkpoint
        self.saver = BackgroundSaver(durability=request.options.checkpoints.durability)

    def execute(self) -> Result:
        discard_drafts(self.directory.checkpoints)
        write_text(self.directory.path / "options.yaml", self.options_yaml)
        prepared = self._prepare()
        state, loop = self._loop(prepared)
        self.directory.update("running", state.position.step)
        outcome = self._train(loop)
        if outcome == "stopped":
            self.directory.update("stopped", state.position.step)
            return Result("stopped", self.directory.path, None, state.position.step)
        self._publish()
        self._report()
        self.directory.update("finished", state.position.step)
        return Result("finished", self.directory.path, self.request.output, state.position.step)

    def _train(self, loop: Loop) -> Outcome:
        """Run the loop; when this returns, everything that was saved is committed."""
        try:
            with self.saver:
                outcome = loop.run()
                self.saver.wait()
                if outcome == "finished" and self.last_saved is None:
                    self._save({})
                return outcome
        except DivergedError as error:
            self.directory.update("failed", self.state.position.step, str(error).splitlines()[0])
            raise

    def _prepare(self) -> Prepared:
        """Read the data and make the model, with the facts of the checkpoint where the run is continued."""
        options = self.request.options
        device = choose_device(options.device)
        random.seed(options.seed)
        np.random.seed(options.seed)  # noqa: NPY002 - a model may draw from the global generator
        torch.manual_seed(options.seed)
        domain: Domain = self.request.architecture.domain.load()
        facts: Mapping[str, Any] | None = None
        if self.start.checkpoint is not None:
            with load_checkpoint(self.start.checkpoint) as checkpoint:
                facts = cast(Mapping[str, Any], checkpoint.state("facts"))
                same_run = self.start.directory is not None
                self.parents = checkpoint.record.parents if same_run else (checkpoint.digest,)
        ancestor = self._ancestor() if facts is None else None
        if ancestor is not None:
            self.parents = (ancestor.digest,)
            self.reporter.say(f"fine-tuning the model in '{ancestor.where}' ({ancestor.digest[:19]}…)")
        prepared = domain.prepare(
            options,
            self.request.architecture,
            folder=self.request.folder,
            device=device,
            ancestor=ancestor,
            facts=facts,
        )
        for line in prepared.summary:
            self.reporter.say(line)
        return prepared

    def _ancestor(self) -> Ancestor | None:
        where = self.request.training.finetune.read_from
        if where is None:
            return None
        trained = open_trained(self.request.folder / Path(where).expanduser())
        return Ancestor(trained.model.state_dict(), trained.facts, trained.digest, where)

    def _loop(self, prepared: Prepared) -> tuple[TrainingState, Loop]:
        options, training = self.request.options, self.request.training
        order = BatchOrder(options.seed, len(prepared.sets["training"]), training.batch_size)
        total = training.steps or training.epochs * order.steps_per_epoch
        state = TrainingState(
            prepared.model,
            options,
            training,
            total_steps=total,
            steps_per_epoch=order.steps_per_epoch,
            metrics=MetricsLog(self.directory.metrics),
        )
        self.prepared, self.state = prepared, state
        self.mode = choose_mode(training.compile, total, prepared.model, prepared.batch_shapes)
        if self.start.checkpoint is not None:
            self._restore(self.start.checkpoint)
        step = GradientStep(prepared.model, prepared.loss, self.mode, self.reporter.say)
        self.reporter.say(
            f"run {self.directory.path} · {total} steps of {order.batch_size} · {self.mode} step · "
            f"{torch.get_num_threads()} threads"
        )
        loop = Loop(
            prepared=prepared,
            state=state,
            step=step,
            order=order,
            training=training,
            checkpoints=options.checkpoints,
            total_steps=total,
            reporter=self.reporter,
            signals=self.signals,
            save=self._save,
            before_step=self.saver.before_step,
            last_good=self._last_good,
        )
        return state, loop

    def _last_good(self, step: int) -> str:
        """Name the furthest checkpoint from which a finite step was taken, seen from a step that was not."""
        self.saver.wait()
        run_id = self.directory.record.run_id
        earlier = [e for e in list_checkpoints(self.directory.checkpoints) if e.run_id == run_id and e.step < step]
        return str(earlier[-1].path) if earlier else "none: no step was taken from a saved state"

    def _restore(self, path: Path) -> None:
        """Take over the state of the checkpoint that the run is continued from."""
        with load_checkpoint(path) as checkpoint:
            check_split(checkpoint.state("split"), self.prepared.split, path)
            self.state.restore(checkpoint)
            before = str(checkpoint.record.metadata.get("step_mode", self.mode))
        if before != self.mode:
            self.reporter.say(
                f"the run was {before} and goes on {self.mode}: results agree to rounding, no longer to the bit"
            )
        self.reporter.say(f"continuing from '{path}' at step {self.state.position.step}")

    def _save(self, metrics: dict[str, float]) -> None:
        """Hand over a checkpoint to be committed while training goes on."""
        step = self.state.position.step
        self.state.metrics.sync()
        self.saver.save(
            self.directory.checkpoints / checkpoint_name(step),
            {**self.state.components(), "facts": dict(self.prepared.facts), "split": dict(self.prepared.split)},
            options_yaml=self.options_yaml,
            record=self._record(step, metrics),
            source=self.source,
            overwrite=True,
            steady=self.state.steady(),
            then=lambda path, digest: self._committed(path, step),
        )

    def _committed(self, path: Path, step: int) -> None:
        """Note a checkpoint that is safe, then retire what the policy no longer keeps."""
        options = self.request.options.checkpoints
        mark_latest(path)
        self.last_saved = path
        keep = [KeepLast(options.keep_last), KeepBest(options.keep_best, options.monitor, options.mode)]
        retire(self.directory.checkpoints, self.directory.record.run_id, keep, path)
        self.directory.update("running", step)

    def _record(self, step: int, metrics: dict[str, float]) -> CheckpointRecord:
        architecture = self.request.architecture
        return CheckpointRecord(
            run_id=self.directory.record.run_id,
            step=step,
            epoch=step // -(-len(self.prepared.sets["training"]) // self.request.training.batch_size),
            parents=self.parents,
            metrics=metrics,
            metadata={"architecture": architecture.name, "step_mode": self.mode, "metadata": {}},
            environment=environment(next(self.prepared.model.parameters()).device, self.request.options.base_precision),
            versions={architecture.name: architecture.version},
        )

    def _report(self) -> None:
        """Measure the published model on every set, tell the user, and keep the figures with the run."""
        device = next(self.prepared.model.parameters()).device
        model = open_trained(self.request.output, device=device).model
        found = {name: self.prepared.evaluate(model, s) for name, s in self.prepared.sets.items() if len(s)}
        for name, metrics in found.items():
            shown = "  ".join(
                f"{metric} {value:.4g} {self.prepared.units.get(metric.split('_')[0], '')}".rstrip()
                for metric, value in metrics.items()
            )
            self.reporter.say(f"errors on the {name} set: {shown}")
        write_text(self.directory.path / "errors.json", json.dumps(found, indent=2) + "\n")

    def _publish(self) -> None:
        """Put the best checkpoint, or the last where none is best, under the name the user gave."""
        options = self.request.options.checkpoints
        run_id = self.directory.record.run_id
        own = [e for e in list_checkpoints(self.directory.checkpoints, verify=True) if e.run_id == run_id]
        best = ranked(own, options.monitor, options.mode) if options.keep_best else []
        chosen = best[0].path if best else self.last_saved
        if chosen is None:
            return
        check_output(self.request.output, run_id, overwrite=self.request.overwrite)
        with Path(chosen).open("rb") as stream:
            atomic_write(self.request.output, lambda target: shutil.copyfileobj(stream, target), overwrite=True)
