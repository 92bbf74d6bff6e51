"""What may differ when a run goes on: every difference is listed by class, and data are known by their content."""

import csv
import shutil
from pathlib import Path

import ase.io
import pytest

from lifecycle import toy
from lifecycle.runs import OPTIONS, differing, training_state, write_run
from lifecycle.test_diverging import Quiet
from lifecycle.test_diverging import request as atoms_request
from lifecycle.test_resuming import StopAt
from milepost.checkpoint import load_checkpoint, save_checkpoint
from milepost.errors import OptionsError, ResumeError
from milepost.run import train
from milepost.run.schedule import Schedule

SHORT = OPTIONS.replace("epochs: 6", "epochs: 2")


@pytest.fixture
def folder(tmp_path: Path):
    """Give a folder with the toy's options, in a process that finds the toy."""
    toy.write_options(tmp_path)
    with toy.installed(tmp_path / "installed"):
        yield tmp_path


def newest(folder: Path) -> Path:
    return max(folder.glob("outputs/*/*/checkpoints/*.ckpt"))


def stopped(folder: Path, *overrides: str, step: int = 4) -> Path:
    """Train up to a step; return the checkpoint of it."""
    result = toy.run(folder, *overrides, reporter=StopAt(step))
    assert (result.outcome, result.step) == ("stopped", step)
    return newest(folder)


def test_every_difference_is_listed_refused_ones_first_with_the_way_out(folder):
    path = stopped(folder)
    changes = (
        "checkpoints.keep_last=5",
        "architecture.training.epochs=4",
        "architecture.model.features=9",
        "architecture.training.optimizer.learning_rate=0.1",
    )
    with pytest.raises(ResumeError) as caught:
        toy.run(folder, *changes, restart=str(path))
    text = str(caught.value)
    lines = [line.strip() for line in text.splitlines()]
    assert "expected the saved options, found 2 that can't change" in lines[0]
    assert [line.split(":")[0] for line in lines[1:5]] == ["refused", "refused", "allowed", "free"]
    model, rate = sorted(lines[1:3])
    assert model.startswith("refused: architecture.model.features: 8 → 9 (the weights have no place in another model")
    assert model.endswith("start a new run, without --restart)")
    assert rate.startswith("refused: architecture.training.optimizer.learning_rate: 0.001 → 0.1 (")
    assert "name the file under architecture.training.finetune.read_from" in rate
    assert "architecture.training.epochs: 3 → 4" in lines[3]
    assert "checkpoints.keep_last: 2 → 5" in lines[4]
    assert newest(folder) == path, "nothing was trained"


def test_accepted_differences_are_said_one_by_one(folder):
    path = stopped(folder)
    log = toy.Log()
    changes = ("checkpoints.keep_last=5", "architecture.training.epochs=4")
    result = toy.run(folder, *changes, restart=str(path), reporter=log)
    assert (result.outcome, result.step) == ("finished", 4 * 6)
    said = [line for line in log.lines if line.startswith("option changed, ")]
    assert [line.split(" (")[0] for line in said] == [
        "option changed, allowed: architecture.training.epochs: 3 → 4",
        "option changed, free: checkpoints.keep_last: 2 → 5",
    ]


def test_a_run_that_was_nearly_meant_is_mentioned(folder):
    path = stopped(folder)
    log = toy.Log()
    toy.run(folder, "seed=4", "architecture.training.epochs=1", reporter=log)
    assert any("no unfinished run with these options" in line and "starting afresh" in line for line in log.lines)
    mentioned = f"the unfinished run in '{path.parents[1]}' differs in seed: 3 → 4: it needs the old values"
    assert mentioned in log.lines


def test_options_that_are_as_far_away_as_another_experiment_are_not_mentioned(folder):
    stopped(folder)
    log = toy.Log()
    far = ("seed=4", "examples=21", "data_seed=2", "architecture.model.features=4", "architecture.training.epochs=1")
    toy.run(folder, *far, reporter=log)
    assert not any("the unfinished run" in line for line in log.lines)


def test_training_from_python_refuses_what_the_command_refuses_before_a_folder_is_made(folder):
    wrong = (
        "architecture.training.optimizer.name=Adan",
        "checkpoints.monitor=validation/los",
        "device=xpu:3",
    )
    with pytest.raises(OptionsError) as caught:
        toy.run(folder, *wrong, restart=None)
    text = str(caught.value)
    assert "architecture.training.optimizer.name: expected one of" in text
    assert "checkpoints.monitor: expected one of training/loss" in text
    assert "device: expected 'auto' or a device of this machine" in text
    assert not (folder / "outputs").exists()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Start a run on structures that stops after four steps; tests work on copies."""
    folder = tmp_path_factory.mktemp("started")
    write_run(folder, SHORT)
    train(atoms_request(folder, restart="auto"), StopAt(4))
    return folder


@pytest.fixture
def structures(started: Path, tmp_path: Path) -> Path:
    return shutil.copytree(started, tmp_path / "run")


def replaced_by_the_same_size(data: Path) -> None:
    text = data.read_text()
    data.write_text(text.replace("0.0", "0.1", 1))
    assert len(data.read_text()) == len(text)


def given_one_more(data: Path) -> None:
    frames = ase.io.read(data, ":")
    ase.io.write(data, [*frames, frames[0]], format="extxyz")


@pytest.mark.parametrize("change", [replaced_by_the_same_size, given_one_more])
def test_changed_data_are_refused_by_file_name(structures, change):
    change(structures / "frames.xyz")
    with pytest.raises(ResumeError) as caught:
        train(atoms_request(structures, restart="auto"), Quiet())
    lines = str(caught.value).splitlines()
    assert "the data are not those that the run was started with" in lines[0]
    assert lines[1].startswith("  the training set: 'frames.xyz': expected the content blake3:")
    assert ", found blake3:" in lines[1]
    assert lines[-1] == "Restore the files, or start a new run, without --restart."
    if change is given_one_more:
        assert "  frames.training: expected 18 examples, found 19" in lines


def test_a_file_that_is_gone_is_named(structures):
    (structures / "frames.xyz").unlink()
    with pytest.raises(ValueError, match=r"could not read structures from 'frames\.xyz': no such file"):
        train(atoms_request(structures, restart="auto"), Quiet())


def test_a_file_that_moved_and_was_renamed_is_the_same_file(structures):
    path = newest(structures)
    (structures / "data").mkdir()
    (structures / "frames.xyz").rename(structures / "data" / "water.xyz")
    place = "training_set.systems.read_from=data/water.xyz"
    log = Quiet()
    result = train(atoms_request(structures, place, restart=str(path)), log)
    assert (result.outcome, result.directory) == ("finished", path.parents[1])
    assert any(line.startswith("option changed, free: training_set.systems.read_from") for line in log.lines)
    assert "the training set: the file 'frames.xyz' is now called 'water.xyz'" in log.lines


def test_auto_says_how_a_run_whose_data_moved_goes_on(structures):
    path = newest(structures)
    (structures / "frames.xyz").rename(structures / "water.xyz")
    log = Quiet()
    place = "training_set.systems.read_from=water.xyz"
    train(atoms_request(structures, place, "architecture.training.steps=1", restart="auto"), log)
    hint = next(line for line in log.lines if line.startswith("the unfinished run in"))
    assert hint.endswith(f"--restart '{path}' continues it")


def test_a_folder_that_moved_changes_nothing(started, structures):
    alone, moved = structures, structures.with_name("elsewhere")
    train(atoms_request(alone, restart="auto"), Quiet())
    shutil.copytree(started, moved)
    train(atoms_request(moved, restart="auto"), Quiet())
    assert differing(training_state(moved / "model.ckpt"), training_state(alone / "model.ckpt")) == []


def test_a_file_with_another_element_is_refused_by_its_name(structures):
    frames = ase.io.read(structures / "frames.xyz", ":")
    frames[0].numbers[0] = 7
    ase.io.write(structures / "frames.xyz", frames, format="extxyz")
    with pytest.raises(ValueError, match=r"frames\.xyz"):
        train(atoms_request(structures, restart="auto"), Quiet())


def test_options_of_a_checkpoint_that_this_version_does_not_know_are_named_with_the_file(folder):
    path = stopped(folder)
    with load_checkpoint(path) as checkpoint:
        state = {name: checkpoint.state(name) for name in checkpoint.components}
        text, record = checkpoint.options_yaml + "unheard_of: 1\n", checkpoint.record
    save_checkpoint(path, state, options_yaml=text, record=record, overwrite=True)
    with pytest.raises(OptionsError, match=rf"(?s){path.name} can't be used.*unheard_of"):
        toy.run(folder, restart=str(path))


def test_more_epochs_stretch_the_course_from_the_step_on_at_which_the_run_goes_on(tmp_path, monkeypatch):
    """The oracle is one process whose schedule is told the new length at that step."""
    longer, changed_at = "architecture.training.epochs=4", 7
    alone, changed = tmp_path / "alone", tmp_path / "changed"
    with toy.installed(tmp_path / "installed"):
        for folder in (alone, changed):
            folder.mkdir()
            toy.write_options(folder, training={"schedule": {"name": "cosine"}})
        toy.run(changed, reporter=StopAt(changed_at))
        toy.run(changed, longer, reporter=StopAt(13))
        newest(changed).unlink()  # back to before that stop: the steps are taken again, with the new length
        toy.run(changed, longer)
        lengths, factor = (3 * 6, 4 * 6), Schedule.factor

        def told(self: Schedule, step: int) -> float:
            course = Schedule(self.options, lengths[step >= changed_at], 6)
            return factor(course, step)

        with monkeypatch.context() as patched:
            patched.setattr(Schedule, "factor", told)
            toy.run(alone, longer)
    assert differing(training_state(newest(changed)), training_state(newest(alone))) == []
    texts = [next(folder.glob("outputs/*/*/metrics.csv")).read_text() for folder in (changed, alone)]
    assert texts[0] == texts[1]


def test_a_run_that_stopped_early_goes_on_with_more_patience(folder):
    stopping = "architecture.training.early_stopping"
    impatient = (f"{stopping}.patience=1", f"{stopping}.minimum_change=1e9")
    first = toy.run(folder, *impatient)
    assert (first.outcome, first.step) == ("finished", 2 * 6)
    log = toy.Log()
    more = toy.run(folder, f"{stopping}.patience=9", f"{stopping}.minimum_change=1e9", reporter=log)
    assert (more.outcome, more.step, more.directory) == ("finished", 3 * 6, first.directory)
    assert any(f"allowed: {stopping}.patience: 1 → 9" in line for line in log.lines)


def test_another_metric_for_the_best_begins_anew(folder):
    stopped(folder, "architecture.training.schedule.name=plateau", step=8)
    changed = ("architecture.training.schedule.name=plateau", "checkpoints.monitor=training/loss")
    result = toy.run(folder, *changed)
    state = training_state(max((result.directory / "checkpoints").glob("*.ckpt")))
    text = (result.directory / "metrics.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    later = [float(row["training/loss"]) for row in rows if int(row["step"]) > 8]
    assert state["best"]["watched"] == "min training/loss"
    assert state["best"]["value"] == pytest.approx(min(later))
    assert state["schedule"]["best"] == pytest.approx(min(later))
