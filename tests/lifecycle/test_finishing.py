"""The end of a run: what is finished stays finished, also when the process dies between its last step and the end."""

import json
import shutil

import pytest

from lifecycle.runs import OPTIONS, differing, training_state, write_run
from lifecycle.test_diverging import Quiet, request
from milepost.checkpoint import list_checkpoints, load_checkpoint
from milepost.errors import OverwriteError
from milepost.run import saving, train
from milepost.run.session import Best

SHORT = OPTIONS.replace("epochs: 6", "epochs: 2")
EARLY = (
    "architecture.training.early_stopping.patience=1",
    "architecture.training.early_stopping.minimum_change=1e9",
    "architecture.training.evaluate_every_epochs=1",
)


def mark_unfinished(directory):
    """Leave a run as a process leaves it that dies after the last save."""
    path = directory / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running"}), encoding="utf-8")


def test_the_same_command_again_leaves_a_finished_run_as_it_is(tmp_path):
    write_run(tmp_path, SHORT)
    first = train(request(tmp_path, restart="auto"), Quiet())
    before = (tmp_path / "model.ckpt").read_bytes(), (first.directory / "metrics.csv").read_bytes()
    reporter = Quiet()
    again = train(request(tmp_path, restart="auto"), reporter)
    assert again.directory == first.directory
    assert any("is finished: going on from its end" in line for line in reporter.lines)
    assert ((tmp_path / "model.ckpt").read_bytes(), (first.directory / "metrics.csv").read_bytes()) == before


def test_more_epochs_continue_a_finished_run(tmp_path):
    write_run(tmp_path, SHORT)
    first = train(request(tmp_path, restart="auto"), Quiet())
    longer = train(request(tmp_path, "architecture.training.epochs=3", restart="auto"), Quiet())
    assert (longer.directory, longer.step) == (first.directory, first.step * 3 // 2)


def test_without_its_model_a_finished_run_is_not_continued(tmp_path):
    write_run(tmp_path, SHORT)
    first = train(request(tmp_path, restart="auto"), Quiet())
    (tmp_path / "model.ckpt").unlink()
    assert train(request(tmp_path, restart="auto"), Quiet()).directory != first.directory


def test_a_run_that_stopped_early_takes_no_further_step_when_it_is_continued(tmp_path):
    write_run(tmp_path)
    first = train(request(tmp_path, *EARLY), Quiet())
    names = [entry.path.name for entry in list_checkpoints(first.directory / "checkpoints")]
    before = training_state(tmp_path / "model.ckpt")
    mark_unfinished(first.directory)
    again = train(request(tmp_path, *EARLY, restart="auto"), Quiet())
    assert (again.directory, again.step) == (first.directory, first.step)
    assert [entry.path.name for entry in list_checkpoints(first.directory / "checkpoints")] == names
    assert differing(training_state(tmp_path / "model.ckpt"), before) == []


def test_a_model_that_another_run_put_there_meanwhile_is_not_replaced(tmp_path):
    write_run(tmp_path, SHORT)
    done = train(request(tmp_path), Quiet())
    other = (tmp_path / "model.ckpt").read_bytes()

    class Meanwhile(Quiet):
        def begin(self, done, total):
            shutil.copy(done_model, tmp_path / "model.ckpt")
            return super().begin(done, total)

    done_model = tmp_path / "other.ckpt"
    (tmp_path / "model.ckpt").rename(done_model)
    with pytest.raises(OverwriteError, match=r"found the model of run .*publishes again with --restart auto"):
        train(request(tmp_path, "seed=4"), Meanwhile())
    assert (tmp_path / "model.ckpt").read_bytes() == other
    (tmp_path / "model.ckpt").unlink()
    result = train(request(tmp_path, "seed=4", restart="auto"), Quiet())
    assert result.directory != done.directory
    assert (tmp_path / "model.ckpt").read_bytes() != other


def test_a_fine_tuning_is_not_taken_for_the_run_that_it_resembles(tmp_path):
    write_run(tmp_path, SHORT)
    scratch = train(request(tmp_path), Quiet())
    ancestor = (tmp_path / "model.ckpt").rename(tmp_path / "ancestor.ckpt")
    mark_unfinished(scratch.directory)
    tuned = train(request(tmp_path, f"architecture.training.finetune.read_from={ancestor}", restart="auto"), Quiet())
    assert tuned.directory != scratch.directory
    with load_checkpoint(tmp_path / "model.ckpt") as checkpoint, load_checkpoint(ancestor) as old:
        assert checkpoint.record.parents == (old.digest,)


def test_the_folder_of_the_output_is_made(tmp_path):
    write_run(tmp_path, SHORT)
    given = request(tmp_path)
    output = tmp_path / "models" / "deep" / "a.ckpt"
    train(type(given)(given.options, given.architecture, given.folder, output), Quiet())
    assert output.is_file()


def test_without_a_validation_set_the_model_is_the_best_by_its_training_loss(tmp_path):
    write_run(tmp_path, OPTIONS.replace("validation_set: 0.2", "validation_set: 0"))
    train(request(tmp_path, "architecture.training.evaluate_every_epochs=1", "checkpoints.keep_last=99"), Quiet())
    with load_checkpoint(tmp_path / "model.ckpt") as model:
        chosen = model.record
    monitored = {
        entry.step: entry.record.metrics["validation/loss"]
        for folder in tmp_path.glob("outputs/*/*/checkpoints")
        for entry in list_checkpoints(folder)
        if "validation/loss" in entry.record.metrics
    }
    assert len(monitored) > 1
    assert monitored[chosen.step] == min(monitored.values())


def test_the_best_value_of_another_metric_is_not_taken_over():
    old = Best("validation/loss", "min")
    old.evaluated(0.5)
    same, other, reverse = Best("validation/loss", "min"), Best("validation/forces_rmse", "min"), Best("x", "max")
    for best in (same, other, reverse):
        best.load_state_dict(old.state_dict())
    assert same.value == 0.5
    assert other.value is None
    assert reverse.value is None


def test_what_a_process_that_died_did_not_retire_is_left_to_the_next(tmp_path, monkeypatch):
    write_run(tmp_path, SHORT)
    with monkeypatch.context() as died:
        died.setattr(saving, "retire", lambda *given: [])
        died.setattr(saving, "mark_latest", lambda *given: None)
        first = train(request(tmp_path, restart="auto"), Quiet())
    folder = first.directory / "checkpoints"
    assert len(list(folder.glob("*.ckpt"))) > 3
    mark_unfinished(first.directory)
    train(request(tmp_path, restart="auto"), Quiet())
    left = sorted(path.name for path in folder.glob("*.ckpt"))
    assert left[-2:] == ["step-00000009.ckpt", "step-00000010.ckpt"]
    assert len(left) <= 3, "the last two and the best one"
    assert (folder / "latest").read_text(encoding="utf-8").strip() == left[-1]
