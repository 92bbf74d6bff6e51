"""A loss that is no number stops the run with everything a person needs to find out why."""

import json
import re

import pytest

from lifecycle.runs import OPTIONS, write_run
from milepost.errors import DivergedError, OverwriteError
from milepost.model import find_architecture
from milepost.options import load_options
from milepost.run import Reporter, Request, train


class Quiet(Reporter):
    """Keep what would be said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, message):
        self.lines.append(message)


def request(folder, *overrides, **keywords):
    architecture = find_architecture("cairn")
    options = load_options(folder / "options.yaml", architecture.options_class(), overrides)
    return Request(options, architecture, folder, folder / "model.ckpt", **keywords)


def test_a_diverging_run_names_the_batch_and_the_last_good_checkpoint(tmp_path):
    write_run(tmp_path)
    wild = (
        "architecture.training.optimizer.learning_rate=1",
        "architecture.training.schedule.warmup_fraction=0.5",
        "architecture.training.gradient_clip=null",
    )
    with pytest.raises(DivergedError) as caught:
        train(request(tmp_path, *wild, "checkpoints.every_steps=1"), Quiet())
    text = str(caught.value)
    assert "training stopped at step" in text
    assert "expected a finite loss and gradient, found a loss of" in text
    assert "The batch holds the examples [" in text
    assert "frames.xyz, frame " in text
    stopped_at = int(re.search(r"stopped at step (\d+)", text)[1])
    assert f"checkpoints/step-{stopped_at - 1:08d}.ckpt.\n" in text, "a finite step was taken from this one"
    assert "architecture.training.finetune.read_from" in text
    record = json.loads(next(tmp_path.glob("outputs/*/*/run.json")).read_text())
    assert record["state"] == "failed"


def test_before_the_first_save_there_is_no_good_checkpoint_to_name(tmp_path):
    write_run(tmp_path, OPTIONS.replace("every_steps: 3", "every_epochs: 1"))
    wild = ("architecture.training.optimizer.learning_rate=1e38", "architecture.training.schedule.warmup_fraction=0")
    with pytest.raises(DivergedError, match="none: no step was taken from a saved state"):
        train(request(tmp_path, *wild), Quiet())


def test_another_runs_model_is_not_replaced_in_silence(tmp_path):
    write_run(tmp_path, OPTIONS.replace("epochs: 6", "epochs: 1"))
    train(request(tmp_path), Quiet())
    before = (tmp_path / "model.ckpt").read_bytes()
    with pytest.raises(OverwriteError, match=r"expected no file or this run's own model, found the model of run .*-o"):
        train(request(tmp_path), Quiet())
    assert (tmp_path / "model.ckpt").read_bytes() == before
    train(request(tmp_path, overwrite=True), Quiet())
    assert (tmp_path / "model.ckpt").read_bytes() != before


def test_early_stopping_stops_and_says_so(tmp_path):
    write_run(tmp_path)
    reporter = Quiet()
    stopping = "architecture.training.early_stopping"
    overrides = (
        f"{stopping}.patience=1",
        f"{stopping}.minimum_change=1e9",
        "architecture.training.evaluate_every_epochs=1",
    )
    result = train(request(tmp_path, *overrides), reporter)
    assert result.outcome == "finished"
    assert result.step == 2 * 5, "the first evaluation is the best, the second is no better"
    assert any("stopping early" in line for line in reporter.lines)
