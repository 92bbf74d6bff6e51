"""A learner that does not predict with the model itself: its files, opened and exported, give what the run measured.

The data are scikit-learn's digits, five tasks of two classes; the learner is iCaRL, whose classes are means.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from milepost.cli.validation import read_options
from milepost.errors import OptionsError
from milepost.images.deployment import DEPLOYMENT
from milepost.images.evaluation import EvaluationOptions, evaluate_engine, read_parts
from milepost.images.exporting_files import export_classifier
from milepost.images.opening import open_classifier
from milepost.learning import TaskMatrix, find_learner
from milepost.learning.exemplars import NearestMean
from milepost.run import Reporter, Request, Result, learners, open_trained, train

OPTIONS: dict[str, Any] = {
    "seed": 3,
    "device": "cpu",
    "architecture": {
        "name": "mlp",
        "model": {"hidden": [12, 12]},
        "training": {"batch_size": 50, "epochs": 2, "ema_decay": 0.9},
    },
    "tasks": {"benchmark": "seq-digits"},
    "checkpoints": {"durability": "process", "every_steps": 1, "keep_last": 1000},
}
LEARNERS = {"icarl": {"name": "icarl", "buffer_size": 50}, "finetune": {"name": "finetune"}}


class Quiet(Reporter):
    """Say nothing."""

    def say(self, message: str) -> None:
        pass


def run(folder: Path, *overrides: str, learner: str = "icarl") -> Result:
    """Train in this process."""
    path = folder / "options.yaml"
    path.write_text(yaml.safe_dump(OPTIONS | {"learner": LEARNERS[learner]}), encoding="utf-8")
    options, architecture = read_options(path, overrides, for_training=True)
    asked = Request(options, architecture, folder, folder / "model.ckpt", overwrite=True)
    return train(asked, Quiet())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Train once, in a folder of its own."""
    folder = tmp_path_factory.mktemp("icarl")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        found = run(folder)
    return dataclasses.replace(found, directory=folder / found.directory)


def measured(path: Path) -> list[dict[str, float]]:
    """Evaluate a file as `milepost eval` does; return the accuracies of each task."""
    chosen = EvaluationOptions.model_validate({"benchmark": "seq-digits", "seed": OPTIONS["seed"]})
    tasks = evaluate_engine(open_classifier(path).engine, read_parts(chosen, path.parent), chosen).tasks
    return [{"accuracy": task.accuracy, "task_accuracy": task.task_accuracy or 0.0} for task in tasks]


def in_matrix(directory: Path, row: int) -> list[dict[str, float]]:
    """Return what a row of the run's matrix says of each task learned until then."""
    matrix = TaskMatrix.read(directory)
    assert matrix is not None
    entries = matrix.state_dict()["rows"]
    return [{metric: rows[row][task] for metric, rows in entries.items()} for task in range(row + 1)]


def at_step(done: Result, step: int) -> Path:
    return done.directory / "checkpoints" / f"step-{step:08d}.ckpt"


def ends(done: Result) -> list[int]:
    """List the steps with which the tasks end, by the rows of the metrics: two epochs a task."""
    rows = (done.directory / "metrics.csv").read_text(encoding="utf-8").splitlines()
    steps = [int(row.split(",")[0]) for row in rows[1:]]
    return steps[1::2]


def test_a_checkpoint_gives_what_the_run_measured_after_its_task(done: Result) -> None:
    """The last one is the model that is published; averaged weights have exemplars' means of their own."""
    assert len(ends(done)) == 5
    assert done.model is not None
    for task, path in enumerate([*(at_step(done, step) for step in ends(done)[:-1]), done.model]):
        assert measured(path)[: task + 1] == [pytest.approx(row) for row in in_matrix(done.directory, task)], task


def test_an_exported_model_gives_what_the_run_measured(done: Result) -> None:
    assert done.model is not None
    target = done.model.with_suffix(".onnx")
    export_classifier(done.model, target)
    assert measured(target) == [pytest.approx(row) for row in in_matrix(done.directory, 4)]


def test_the_model_alone_would_give_something_else(done: Result) -> None:
    """So that the tests above compare what differs; and weights are told from what predicts."""
    assert done.model is not None
    opened = open_trained(done.model)
    assert isinstance(opened.predictor, NearestMean)
    assert opened.predictor.model is opened.model
    assert not opened.predictor.training
    images = torch.rand(50, 1, 8, 8)
    assert not torch.equal(opened.predictor(images).argmax(1), opened.model(images).argmax(1))


def test_in_the_middle_of_the_first_task_the_model_predicts(done: Result) -> None:
    opened = open_trained(at_step(done, 1))
    assert opened.predictor is opened.model


def test_in_the_middle_of_a_task_the_classes_before_it_are_predicted(done: Result) -> None:
    """With means of the weights as they are then."""
    step = ends(done)[1] + 1
    opened = open_trained(at_step(done, step))
    before = open_trained(at_step(done, ends(done)[1]))
    assert isinstance(opened.predictor, NearestMean)
    assert isinstance(before.predictor, NearestMean)
    assert set(opened.predictor(torch.rand(50, 1, 8, 8)).argmax(1).tolist()) <= {0, 1, 2, 3}
    assert not torch.equal(opened.predictor.means, before.predictor.means)


def test_a_run_that_begins_with_the_model_takes_its_weights(
    done: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    finetune = f"architecture.training.finetune.read_from={done.model}"
    found = run(tmp_path, finetune, "architecture.training.epochs=0", learner="finetune")
    assert found.model is not None
    new, old = (open_trained(path) for path in (found.model, done.model or Path()))
    assert new.predictor is new.model
    assert all(torch.equal(value, old.model.state_dict()[name]) for name, value in new.model.state_dict().items())


def test_a_learner_whose_files_would_predict_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    silent = dataclasses.replace(find_learner("icarl"), predictor=None)
    monkeypatch.setattr(learners, "find_learner", lambda name: silent)
    with pytest.raises(OptionsError, match="expected a LearnerSpec that names its `predictor`, found none"):
        run(tmp_path)


def test_a_benchmark_is_permuted_as_the_run_permuted_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of an evaluation need not repeat the run's seed and number of tasks."""
    monkeypatch.chdir(tmp_path)
    found = run(tmp_path, "tasks.benchmark=perm-digits", "tasks.count=2", learner="finetune")
    exported = tmp_path / "model.onnx"
    export_classifier(found.model or Path(), exported)
    expected = [entry["accuracy"] for entry in in_matrix(found.directory, 1)]
    asked = EvaluationOptions.model_validate({"benchmark": "perm-digits"})
    for path in (found.model or Path(), exported):
        tasks = DEPLOYMENT.evaluate(open_classifier(path), asked, tmp_path).tasks
        assert [task.accuracy for task in tasks] == pytest.approx(expected)
