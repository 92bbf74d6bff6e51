"""Train a model from options: set up, continue where there is something to continue, save, finish.

`train` is the whole of a run seen from outside. What it promises is in `milepost.run.loop` (steps), `session` (state)
and `resume` (where it starts); here they are put together.
"""

import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from milepost.checkpoint import Segment, discard_drafts, environment, load_checkpoint
from milepost.checkpoint.lineage import changes, extended
from milepost.errors import DataError, DivergedError, MilepostError
from milepost.learning import DataSet, Learner, find_learner
from milepost.options import TrainingOptions, expanded_yaml
from milepost.run.advancing import Advance, task_loss
from milepost.run.batches import Batches
from milepost.run.bounds import after_tasks, check_bounds, check_something_left, end_of_run, go_to_first, go_to_task
from milepost.run.checking import check_trainable
from milepost.run.course import Course, lay_out, with_buffers
from milepost.run.deadline import Deadline
from milepost.run.deterministic import same_bits_every_time
from milepost.run.device import choose_device
from milepost.run.directory import RunDirectory, write_text
from milepost.run.domain import Ancestor, Domain, Prepared
from milepost.run.heartbeat import Heartbeat
from milepost.run.learners import make_learner, remembering, task_matrix
from milepost.run.loadcheck import given_file
from milepost.run.loop import Loop, Outcome
from milepost.run.metrics_log import MetricsLog
from milepost.run.places import between_tasks, check_task, moved, refusal, same_place
from milepost.run.precision import computed_in
from milepost.run.progress import Reporter
from milepost.run.publishing import publish, report_errors, report_matrix
from milepost.run.resume import Start
from milepost.run.rollback import Intervals, Rollback, stop
from milepost.run.saving import Checkpoints, Origin
from milepost.run.sequence import AVERAGES, TaskSequence
from milepost.run.session import TrainingState
from milepost.run.shortage import Shortage
from milepost.run.signals import Listening, StopSignals
from milepost.run.splits import check_split
from milepost.run.starting import Request, Result, located, note_stop
from milepost.run.step import GradientStep, choose_mode
from milepost.run.task_files import task_files
from milepost.run.task_pictures import TaskPictures
from milepost.run.trained import open_trained

STATE_OF_A_WEIGHT = 4
"""Numbers that are saved for each weight, at most: itself, its average, and the two moments of Adam."""


def train(
    request: Request, reporter: Reporter, *, signals: Listening | None = None, deadline: Deadline | None = None
) -> Result:
    """Train to the end, or until a signal or the deadline asks to stop; return where the model is.

    Signals are noted by `signals` while the loop runs. Before and after it, what handles them is what handled them
    when this was called; an exception of its own (KeyboardInterrupt, say) gets a note of what is kept.

    Raises, before anything is computed, OptionsError listing what this machine or architecture can't do of what the
    options ask for, and OverwriteError when `output` holds another run's model; ResumeError when the run can't be
    continued with these options or data, DataError, and DivergedError.
    """
    check_trainable(request.options)
    with ExitStack() as files:
        given = files.enter_context
        start, directory = located(request, reporter, lambda: given(given_file(request.options, request.folder)))
        return _trained(request, directory, start, reporter, signals or StopSignals(), deadline)


def _trained(
    request: Request,
    directory: RunDirectory,
    start: Start,
    reporter: Reporter,
    signals: Listening,
    deadline: Deadline | None,
) -> Result:
    """Train in a directory that is locked, and note how it ends."""
    with directory, same_bits_every_time(choose_device(request.options.device)):
        try:
            return _Run(request, directory, start, reporter, signals, deadline).execute()
        except BaseException as error:
            if not isinstance(error, Exception):
                note_stop(directory, error)
            raise


class _Run:
    """One process's share of a run."""

    def __init__(
        self,
        request: Request,
        directory: RunDirectory,
        start: Start,
        reporter: Reporter,
        signals: Listening,
        deadline: Deadline | None,
    ) -> None:
        self.request, self.directory, self.start = request, directory, start
        self.reporter, self.signals, self.deadline = reporter, signals, deadline
        self.shortage = Shortage(reporter.say, self._pressed)
        self.parents: tuple[str, ...] = ()
        self.lineage: tuple[Segment, ...] = ()
        self.changes: tuple[str, ...] = ()
        self.heartbeat = Heartbeat(directory.progress)
        self.pictures = TaskPictures(directory.path, reporter.say)

    def execute(self) -> Result:
        request, directory = self.request, self.directory
        self.heartbeat.phase("reading data")
        discard_drafts(directory.path)
        discard_drafts(directory.checkpoints)
        discard_drafts(request.output.parent, request.output.name)
        if self.start.directory is None:
            self._note_options()
        prepared = self._prepare()
        state, checkpoints, loop = self._loop(prepared)
        if self.start.directory is not None:
            self._note_options()  # only now: options that may not continue a run do not become its own
        directory.begin(state.position.step, loop.total_steps, self.lineage[-1].environment, self.changes)
        try:
            outcome = self._train(state, checkpoints, loop)
        except Exception:
            self.pictures.leave(state.matrix)
            raise
        if outcome == "finished" and self._published(state, checkpoints, prepared):
            return Result("finished", directory.path, request.output, state.position.step)
        kept, received = directory.record.step, self.signals.received
        cause = received.name if received else "the time limit" if outcome == "stopped" else "lack of space"
        with self.shortage.outlived("the state of the run", directory.path):
            directory.update("stopped", kept, "; ".join(filter(None, (cause, self.shortage.noted))))
        self.pictures.leave(state.matrix, None if self.deadline is None else self.deadline.left)
        return Result("unsaved" if outcome == "finished" else outcome, directory.path, None, kept, cause)

    def _note_options(self) -> None:
        write_text(self.directory.path / "options.yaml", expanded_yaml(self.request.options))

    def _published(self, state: TrainingState, checkpoints: Checkpoints, prepared: Prepared) -> bool:
        """Publish the model and measure it; False where there is no space for it, not even after a while."""
        request, directory = self.request, self.directory
        self.heartbeat.phase("publishing")
        patience = request.training.early_stopping.patience
        stopped_early = patience is not None and state.stopping.waited >= patience
        tasks = state.course.tasks_done(state.position.step)
        note = "early stopping" if stopped_early else after_tasks(request.options.course, tasks, state.course.tasks)

        def attempt() -> bool:
            with self.shortage.outlived(f"the model '{request.output.name}'", request.output.parent):
                policy, last = request.options.checkpoints, checkpoints.last_saved
                publish(
                    request.output, directory, policy, last, overwrite=request.overwrite, newest=bool(prepared.tasks)
                )
                if state.matrix is None:
                    report_errors(request.output, directory, prepared, self.reporter)
                else:
                    report_matrix(state.matrix, directory, self.reporter)
                directory.update("finished", state.position.step, note)
                self.shortage.over()
                return True
            return False

        done = attempt() or self.shortage.waited_out(attempt)
        self.shortage.report("the model")
        return done

    def _train(self, state: TrainingState, checkpoints: Checkpoints, loop: Loop) -> Outcome:
        """Run the loop; when this returns, everything that was saved is committed."""
        try:
            with self.signals, checkpoints, loop.advance.batches:
                outcome = loop.run()
                if not checkpoints.complete():
                    return "unsaved"
        except DivergedError as error:
            self.directory.update("failed", state.position.step, str(error).splitlines()[0])
            raise
        except Exception as error:
            own = isinstance(error, (MilepostError, OSError)) and not isinstance(error, DataError)
            if self.signals.received is None or own:
                raise
            # A signal for the whole job ended a process that the step needed, a compiler or a loader's worker: the
            # last checkpoint holds, and whatever is wrong besides shows again when the run goes on from it.
            self.reporter.say(f"the step was cut short: {type(error).__name__}: {error}")
            return "stopped"
        # After a signal the process has seconds left: publishing the model is for the next one.
        return outcome if self.signals.received is None else "stopped"

    def _pressed(self) -> bool:
        """Tell that nobody may be kept waiting."""
        return self.signals.received is not None or (self.deadline is not None and self.deadline.left <= 0)

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
                same_run = self.start.directory is not None and self.start.given is None
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
        lines = list(prepared.summary)
        if self.start.given is not None and self.start.checkpoint is None:
            self.parents = (self.start.given.digest,)
            lines += self.start.given.put_weights(prepared.model)
        for line in lines:
            self.reporter.say(line)
        return prepared

    def _ancestor(self) -> Ancestor | None:
        where = self.request.training.finetune.read_from
        if where is None:
            return None
        trained = open_trained(self.request.folder / Path(where).expanduser())
        return Ancestor(trained.model.state_dict(), trained.facts, trained.digest, where)

    def _loop(self, prepared: Prepared) -> tuple[TrainingState, Checkpoints, Loop]:
        options, training = self.request.options, self.request.training
        examples = prepared.sets["training"]
        learner, course = self._laid_out(prepared)
        state = TrainingState(
            prepared.model,
            options,
            training,
            learner=learner,
            course=course,
            matrix=task_matrix(prepared, learner),
            metrics=self._metrics_log(),
        )
        batches_taken = course.total_steps * training.accumulate_batches
        mode = choose_mode(training.compile, batches_taken, prepared.model, prepared.batch_shapes)
        self._begin(state, prepared, mode)
        where, size, threads = self.directory.path, course.legs[0].order.step_size, torch.get_num_threads()
        self.reporter.say(f"run {where} · {course.total_steps} steps of {size} · {mode} step · {threads} threads")
        checkpoints = self._checkpoints(prepared, state)
        batches = Batches(with_buffers(examples, course, learner), course, course.total_steps, training.loader_workers)
        return state, checkpoints, Loop(
            evaluate=prepared.evaluate,
            sequence=TaskSequence(prepared, prepared.stream(), state, self.pictures),
            state=state,
            advance=self._advance(state, checkpoints, batches, mode),
            course=course,
            training=training,
            checkpoints=options.checkpoints,
            reporter=self.reporter,
            signals=self.signals,
            deadline=self.deadline,
            save=checkpoints.save,
            heartbeat=self.heartbeat,
            go_back=self._rollback(state, checkpoints, batches.examples),
            first_save=self.start.checkpoint is None,
            until=end_of_run(options.course, course),
        )  # fmt: skip

    def _laid_out(self, prepared: Prepared) -> tuple[Learner, Course]:
        """Make the learner, and lay the run out; refuse to begin or end it with tasks that there are not."""
        options, training = self.request.options, self.request.training
        learner = make_learner(options, training, prepared)
        course = lay_out(options.seed, training, prepared.sets["training"], learner.setting.tasks, learner)
        check_bounds(options.course, course, tasks=len(prepared.tasks))
        return learner, course

    def _begin(self, state: TrainingState, prepared: Prepared, mode: str) -> None:
        """Take over the saved state where there is one, and note where the run is computed from here on."""
        device, precision = next(prepared.model.parameters()).device, self.request.options.base_precision
        here = environment(device, precision) | {"step_mode": mode}
        if self.start.checkpoint is not None:
            self._restore(self.start.checkpoint, state, prepared, here)
        self._begin_with_given(state)
        self.lineage = extended(self.lineage, state.position.step, here)

    def _begin_with_given(self, state: TrainingState) -> None:
        """Take over what the given file has beside weights, and go to the task that is to be learned first."""
        given, options = self.start.given, self.request.options
        if given is not None and self.start.checkpoint is None:
            for line in given.put_state(state, options):
                self.reporter.say(line)
        if self.start.checkpoint is None or given is not None:
            go_to_first(options.course, state)
        if given is not None:
            check_something_left(options.course, state, given.where)

    def _advance(self, state: TrainingState, checkpoints: Checkpoints, batches: Batches, mode: str) -> Advance:
        training, say = self.request.training, self.reporter.say
        precision, demanded = computed_in(training), training.compile is True
        return Advance(
            state=state,
            gradients=GradientStep(state.model, state.learner.loss, mode, say, precision, demanded=demanded),
            plain=GradientStep(state.model, task_loss(state), mode, say, precision, demanded=demanded),
            batches=batches,
            training=training,
            before_step=checkpoints.before_step,
            last_good=checkpoints.last_good,
            say=say,
        )

    def _checkpoints(self, prepared: Prepared, state: TrainingState) -> Checkpoints:
        origin = Origin(
            options=self.request.options,
            architecture=self.request.architecture,
            facts=prepared.facts,
            split=prepared.split,
            parents=self.parents,
            lineage=self.lineage,
            course=state.course,
            learner=remembering(state.learner, find_learner(self.request.options.learner.name)),
            task_files=task_files(self.request.options, self.request.folder, self.directory.record, state.course),
        )
        checkpoints = Checkpoints(self.directory, state, origin, self.shortage, self.start.checkpoint)
        if self.deadline is not None:
            self.deadline.expect(STATE_OF_A_WEIGHT * sum(p.nbytes for p in prepared.model.parameters()))
            checkpoints.deadline = self.deadline
        return checkpoints

    def _metrics_log(self) -> MetricsLog:
        domain: Domain = self.request.architecture.domain.load()
        beginnings = ("training/", AVERAGES)
        names = [name for name in domain.metric_names(self.request.options) if name.startswith(beginnings)]
        path = self.directory.metrics
        return MetricsLog(path, names, lambda error: self.shortage.note(error, "a row of metrics.csv", path.parent))

    def _rollback(
        self, state: TrainingState, checkpoints: Checkpoints, examples: DataSet
    ) -> Callable[[DivergedError], None]:
        """Decide what a step that diverges leads to."""
        if self.request.training.on_nan == "stop":
            return stop
        return Rollback(
            folder=self.directory.checkpoints,
            run_id=self.directory.record.run_id,
            state=state,
            course=state.course,
            examples=examples,
            intervals=Intervals(self.request.options.checkpoints, state.course.epoch),
            checkpoints=self.request.training.rollback_checkpoints,
            wait=checkpoints.wait,
            say=self.reporter.say,
        )

    def _restore(self, path: Path, state: TrainingState, prepared: Prepared, here: Mapping[str, Any]) -> None:
        """Take over the state of the checkpoint that the run is continued from, and where it was made."""
        with load_checkpoint(path) as checkpoint:
            for line in check_split(checkpoint.state("split"), prepared.split, path):
                self.reporter.say(line)
            state.restore(checkpoint)
            record = checkpoint.record
        self.lineage = record.lineage or (Segment(0, record.environment),)
        self._take_place(path, state, prepared, record.task)
        found = self.changes = tuple(changes(self.lineage[-1].environment, here))
        if found:
            self.reporter.say(f"the run goes on elsewhere ({', '.join(found)}): the last bits may differ from now on")
        self.reporter.say(f"continuing from '{path}' at step {state.position.step}")

    def _take_place(self, path: Path, state: TrainingState, prepared: Prepared, task: int | None) -> None:
        """Make sure that a restored position lies where it lay in the course of its own options."""
        saved, given, options = self.start.saved, self.start.given, self.request.options
        if saved is None or (given is not None and options.course.start_from is not None):
            return  # the next step is that of a task which was asked for
        training = cast(TrainingOptions, saved.architecture.training)
        tasks = state.learner.setting.tasks
        own = lay_out(saved.seed, training, prepared.sets["training"], tasks, state.learner)
        where = path if given is None else given.where
        check_task(own, state.position.step, task, where)
        if not same_place(own, state.course, state.position.step):
            if given is None or not between_tasks(own, state.position.step):
                raise refusal(
                    own, state.position.step, training, self.request.training, where, begins=given is not None
                )
            self.lineage = moved(own, state.course, self.lineage)
            go_to_task(state, own.tasks_done(state.position.step))
