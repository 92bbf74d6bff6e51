"""`milepost train` from the user's side: exit statuses, names that are taken, and a run that is stopped."""

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lifecycle.runs import OPTIONS, write_run
from lifecycle.toy import Log
from milepost.checkpoint import CheckpointRecord, save_checkpoint
from milepost.cli.train import check_exported, exported_name, made_from
from milepost.errors import OverwriteError, ResumeError
from milepost.export import ExportRecord
from milepost.export.record import attach_record
from milepost.images import onnx_program
from milepost.model import find_architecture
from milepost.run import Reporter, Result

FAST = ("-r", "checkpoints.durability=process")
"""Options that spare these tests the wait for the disk."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Go to a directory with small data and options."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path, OPTIONS.replace("epochs: 6", "epochs: 2"))
    return tmp_path


@pytest.mark.parametrize("output", ["model.pt", "model"])
def test_the_output_is_a_checkpoint(milepost, folder, output) -> None:
    ended = milepost("train", "options.yaml", "-o", output)
    assert ended.status == 2
    assert f"expected an output named *.ckpt, found '{output}'" in ended.err
    assert "give -o model.ckpt" in " ".join(ended.err.split())
    assert not (folder / "outputs").exists()


def test_no_options_file(milepost, folder) -> None:
    ended = milepost("train", "option.yaml")
    assert ended.status == 1
    assert "option.yaml  expected a file, found nothing; did you mean 'options.yaml'?" in ended.err


def test_a_checkpoint_is_no_options_file(milepost, folder) -> None:
    (folder / "model.ckpt").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    ended = milepost("train", "model.ckpt")
    assert ended.status == 1
    assert "model.ckpt:" in ended.err
    assert "expected UTF-8 text, found the byte 0x80" in ended.err


def test_missing_data_are_found_before_anything_is_made(milepost, folder) -> None:
    (folder / "frames.xyz").rename("frame.xyz")
    ended = milepost("train", "options.yaml")
    assert ended.status == 1
    assert "training_set.systems.read_from: expected a file, found none of the name 'frames.xyz'" in ended.err
    assert "did you mean 'frame.xyz'?" in ended.err
    assert not (folder / "outputs").exists()


MISTAKEN = """\
seed: one
device: xpu:9
architecture:
  name: cairn
  training:
    optimizer:
      name: Adamm
    early_stopping: {monitor: validation/los}
training_set: {systems: frame.xyz}
validation_set: {indices: 1-5}
checkpoints:
  monitor: validation/forses_rmse
"""
METRICS = (
    "expected one of training/loss, training/energy, training/forces, validation/loss, validation/energy_rmse, "
    "validation/energy_mae, validation/forces_rmse, validation/forces_mae"
)


def test_everything_that_is_wrong_is_in_one_report_before_anything_is_made(milepost, folder) -> None:
    (folder / "options.yaml").write_text(MISTAKEN, encoding="utf-8")
    ended = milepost("train", "options.yaml")
    assert ended.status == 1
    head, *found, foot = (" ".join(line.split()) for line in ended.err.splitlines())
    assert head == "error: options.yaml can't be used: 7 mistakes."
    assert foot.startswith("Correct them and run the command again")
    assert found[0].startswith("options.yaml:1 seed: expected an integer")
    assert found[1].startswith("options.yaml:2 device: expected 'auto' or a device of this machine (cpu")
    assert found[1].endswith(", found 'xpu:9'")
    assert found[2].startswith("options.yaml:7 architecture.training.optimizer.name: expected one of ASGD, Adadelta,")
    assert found[2].endswith(", found 'Adamm'; did you mean 'Adam'?")
    assert found[3:] == [
        f"options.yaml:8 architecture.training.early_stopping.monitor: {METRICS}, found 'validation/los'; "
        "did you mean 'validation/loss'?",
        f"options.yaml:9 training_set.systems.read_from: expected a file, found none of the name 'frame.xyz' "
        f"from '{folder}'; did you mean 'frames.xyz'?",
        "options.yaml:10 validation_set.indices: expected a list of numbers or 'start:stop:step', found '1-5'",
        f"options.yaml:12 checkpoints.monitor: {METRICS}, found 'validation/forses_rmse'; "
        "did you mean 'validation/forces_rmse'?",
    ]
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize(
    ("override", "text"),
    [
        (
            "architecture.training.optimizer.arguments.beta=[0.9, 0.99]",
            "unknown argument of AdamW; did you mean 'betas'?",
        ),
        (
            "architecture.training.optimizer.arguments={betas: [2, 0.9]}",
            "expected arguments that AdamW takes, found {'betas': [2, 0.9]}: Invalid beta parameter at index 0: 2",
        ),
        ("checkpoints.monitor=loss", f"{METRICS}, found 'loss'; did you mean 'validation/loss'?"),
    ],
)
def test_overrides_are_judged_like_the_file(milepost, folder, override, text) -> None:
    ended = milepost("train", "options.yaml", "-r", override)
    assert ended.status == 1
    assert f"{override.partition('=')[0]}: {text}\n" in ended.err
    assert not (folder / "outputs").exists()


def test_options_are_expanded_without_torch(folder) -> None:
    """Also those that could not be trained here."""
    program = (
        "import sys\n"
        "from milepost.cli import main\n"
        "try:\n"
        "    main(['options', 'expand', 'options.yaml', '-r', 'checkpoints.monitor=none'])\n"
        "except SystemExit as ended:\n"
        "    print(ended.code, 'torch' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "0 False"


def test_a_taken_name_of_the_exported_model_is_refused_first(milepost, folder) -> None:
    (folder / "model.pt").write_text("precious", encoding="utf-8")
    ended = milepost("train", "options.yaml")
    assert ended.status == 1
    assert (
        "could not train: expected the name 'model.pt' free for the exported model, or the export of 'model.ckpt', "
        "found another file. Name another output with -o, give --overwrite, or --no-export."
    ) in ended.err
    assert (folder / "model.pt").read_text(encoding="utf-8") == "precious"
    assert not (folder / "outputs").exists()


def test_every_domain_chooses_the_form_of_its_exported_models(monkeypatch) -> None:
    """Where this machine can't write one, that is said at once, and the run has a model all the same."""
    reporter = Log()
    model = Path("model.ckpt")
    assert exported_name(model, find_architecture("cairn"), reporter) == Path("model.pt")
    assert exported_name(model, find_architecture("mlp"), reporter) == Path("model.onnx")
    assert reporter.lines == []
    monkeypatch.setattr(onnx_program.importlib.util, "find_spec", lambda name: None)
    assert exported_name(model, find_architecture("cairn"), reporter) == Path("model.pt")
    assert exported_name(model, find_architecture("mlp"), reporter) is None
    (line,) = reporter.lines
    assert line.startswith("the model will not be exported: could not export to .onnx: expected the packages onnx")
    assert line.endswith("Install them with `pip install milepost[onnx]`.")


def test_it_is_refused_first_also_where_a_run_is_continued(milepost, folder) -> None:
    (folder / "model.pt").write_text("precious", encoding="utf-8")
    ended = milepost("train", "options.yaml", "--restart", "auto")
    assert ended.status == 1
    assert "expected the name 'model.pt' free" in ended.err
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("name", ["--restart", "--continue", "-c"])
def test_a_file_that_is_no_checkpoint_is_not_continued(milepost, folder, name) -> None:
    ended = milepost("train", "options.yaml", name, "frames.xyz")
    assert ended.status == 1
    assert "could not open 'frames.xyz': expected a Milepost archive" in ended.err
    ended = milepost("train", "options.yaml", name, "none.ckpt")
    assert ended.status == 1
    assert "could not use 'none.ckpt': No such file or directory" in ended.err


def test_a_stopped_run_is_continued_to_its_end(milepost, folder, monkeypatch) -> None:
    """An interrupt ends the command with status 75; the same with --restart auto goes on to the end."""
    taken = Reporter.step

    def interrupted(self: Reporter, done: int) -> None:
        taken(self, done)
        if done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Reporter, "step", interrupted)
    ended = milepost("train", "options.yaml", "--no-export", *FAST)
    assert ended.status == 75
    assert "stopped at step 5 by SIGINT; continue with the same command and --restart auto" in ended.err
    assert not (folder / "model.ckpt").exists()
    monkeypatch.setattr(Reporter, "step", taken)
    ended = milepost("train", "options.yaml", "--no-export", "--restart", "auto", *FAST)
    assert ended.status == 0
    assert "at step 5" in ended.err
    assert (folder / "model.ckpt").is_file()
    assert len(list((folder / "outputs").glob("*/*"))) == 1
    ended = milepost("train", "options.yaml", "--no-export", *FAST)
    assert ended.status == 1
    assert "could not put the model under 'model.ckpt'" in ended.err


def test_the_export_of_an_earlier_step_of_the_run_is_replaced(tmp_path) -> None:
    """A signal between publishing and exporting leaves the old export beside the new model."""
    target, model, other = tmp_path / "model.pt", tmp_path / "model.ckpt", tmp_path / "other.ckpt"
    for path, run_id, step in ((model, "one", 2), (other, "two", 2)):
        save_checkpoint(path, {"x": {"n": step}}, record=CheckpointRecord(run_id=run_id, step=step))
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("model/data", b"")
    attach_record(target, export_of("one", step=1))
    assert check_exported(target, model, overwrite=False) is True
    assert not made_from(target, model)
    with pytest.raises(OverwriteError):
        check_exported(target, other, overwrite=False)


def export_of(run_id: str, step: int) -> ExportRecord:
    return ExportRecord(
        "metatomic", f"blake3:{step}", run_id, step, architecture={}, facts={}, metadata={}, environment={}
    )


@pytest.mark.parametrize(
    ("outcome", "cause", "status", "text"),
    [
        ("stopped", "SIGUSR1", 75, "stopped at step 7 by SIGUSR1; continue with the same command and --restart auto"),
        ("unsaved", "lack of space", 74, "step 7 is kept, what came after it found no space (lack of space)"),
    ],
)
def test_how_a_run_ended_before_its_end_is_its_status(
    milepost, folder, monkeypatch, outcome, cause, status, text
) -> None:
    monkeypatch.setattr("milepost.run.train", lambda *_, **__: Result(outcome, folder, None, 7, cause))
    ended = milepost("train", "options.yaml")
    assert ended.status == status
    assert text in " ".join(ended.err.split())


def test_errors_of_the_run_end_with_status_1(milepost, folder, monkeypatch) -> None:
    def refuse(*arguments: object, **keywords: object) -> None:
        raise ResumeError("could not continue: expected this, found that. Do so.")

    monkeypatch.setattr("milepost.run.train", refuse)
    ended = milepost("train", "options.yaml")
    assert ended.status == 1
    assert ended.err == "error: could not continue: expected this, found that. Do so.\n"
