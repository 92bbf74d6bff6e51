"""Tasks one by one, in commands of their own, give what one run gives; files of others are begun with.

The data are scikit-learn's digits, divided into three tasks, in steps of a hundred examples.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from milepost.checkpoint import load_checkpoint
from milepost.checkpoint.converting import convert, convert_for
from milepost.cli.validation import read_options
from milepost.errors import OptionsError, ResumeError, StateMismatchError
from milepost.images.mammoth import laid_out
from milepost.learning import TaskMatrix, pictures
from milepost.run import Reporter, Request, Result, train
from milepost.run.directory import find_runs

OPTIONS: dict[str, Any] = {
    "seed": 3,
    "device": "cpu",
    "architecture": {"name": "mlp", "model": {"hidden": [12, 12]}, "training": {"batch_size": 100, "epochs": 2}},
    "tasks": {"benchmark": "seq-digits", "classes_per_task": 2},
    "learner": {"name": "derpp", "buffer_size": 30},
    "checkpoints": {"durability": "process"},
}
LEFT_OUT = {"metrics"}
"""What differs between a run and one that goes on in another directory: where in its file the metrics are."""


class Log(Reporter):
    """Keep what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def run(folder: Path, *overrides: str, restart: str | None = None, output: str = "model.ckpt") -> tuple[Result, Log]:
    """Train in this process."""
    folder.mkdir(exist_ok=True)
    path, log = folder / "options.yaml", Log()
    path.write_text(yaml.safe_dump(OPTIONS), encoding="utf-8")
    options, architecture = read_options(path, overrides, for_training=True)
    asked = Request(options, architecture, folder, folder / output, restart, overwrite=restart is None)
    return train(asked, log), log


def states(path: Path) -> dict[str, Any]:
    """Read all that a checkpoint holds and that must be the same."""
    with load_checkpoint(path) as checkpoint:
        return {name: checkpoint.state(name) for name in checkpoint.components if name not in LEFT_OUT}


def same(one: Any, other: Any) -> bool:
    """Compare two trees to the last bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))


def published(folder: Path) -> dict[str, Path]:
    """List the files of tasks by their last part."""
    return {path.stem.rpartition("_")[2]: path for path in sorted((folder / "checkpoints").iterdir())}


@pytest.fixture(scope="module", autouse=True)
def _no_pictures() -> Iterator[None]:
    """Draw nothing: that takes longer than all the steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw_matrix", lambda matrix, folder: None)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learn all tasks in one run, which leaves a file of each."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, "course.savecheck=task")
    return folder


def test_a_run_leaves_a_file_of_every_task(whole: Path) -> None:
    files = published(whole)
    assert list(files) == ["0", "1", "2", "3", "4"]
    record = find_runs(whole / "outputs")[0].record
    stamp = record.created[:19].replace("-", "").replace(":", "").replace("T", "-")
    assert files["3"].name == f"derpp_seq-digits_30_2_{stamp}_3.ckpt"
    with load_checkpoint(files["3"]) as checkpoint:
        assert checkpoint.verify() == []
        assert (checkpoint.record.task, checkpoint.record.run_id) == (3, record.run_id)
        assert {"model", "optimizer", "schedule", "learner", "matrix", "random", "position"} <= set(
            checkpoint.components
        )
        assert checkpoint.state("learner")["buffer"]["content"]["length"] == 30
        rows = checkpoint.state("matrix")["rows"]["accuracy"]
    assert [any(value is not None for value in row) for row in rows] == [True, True, True, True, False]


def test_task_by_task_in_commands_of_their_own_is_the_same(whole: Path, tmp_path: Path) -> None:
    run(tmp_path, "course.savecheck=task", "course.ckpt_name=a", "course.stop_after=1")
    files = published(tmp_path)
    assert list(files) == ["0"]
    for number in range(1, 5):
        given, name = files[str(number - 1)], f"n{number}"
        run(
            tmp_path,
            *("course.savecheck=last", f"course.ckpt_name={name}", f"course.stop_after={number + 1}"),
            f"course.loadcheck={given.relative_to(tmp_path)}",
        )
        files = published(tmp_path)
        assert files[str(number)].name.startswith(f"{name}_derpp_")
        with load_checkpoint(files[str(number)]) as made, load_checkpoint(given) as before:
            assert made.record.parents == (before.digest,)
    expected = published(whole)
    assert all(same(states(files[number]), states(expected[number])) for number in expected)


def test_a_run_that_stopped_after_a_task_goes_on(whole: Path, tmp_path: Path) -> None:
    first, _ = run(tmp_path, "course.stop_after=2", restart="auto")
    assert (first.outcome, first.model) == ("finished", tmp_path / "model.ckpt")
    assert find_runs(tmp_path / "outputs")[0].record.note == "after 2 of 5 tasks"
    again, log = run(tmp_path, restart="auto")
    assert again.directory == first.directory
    assert any("allowed: course.stop_after: 2 → null" in line for line in log.lines)
    assert same(states(tmp_path / "model.ckpt"), states(whole / "model.ckpt"))
    assert not (tmp_path / "checkpoints").exists()


def test_the_same_command_finds_the_run_that_began_with_the_file(whole: Path, tmp_path: Path) -> None:
    given = f"course.loadcheck={published(whole)['1']}"
    first, _ = run(tmp_path, given, "course.stop_after=3", restart="auto")
    # From here on the run has checkpoints of its own: the file is not looked at any more.
    again, log = run(tmp_path, given, restart="auto")
    assert again.directory == first.directory
    assert same(states(tmp_path / "model.ckpt"), states(whole / "model.ckpt"))
    other, log = run(tmp_path, "course.stop_after=1", restart="auto", output="other.ckpt")
    assert other.directory != first.directory
    assert any("starting afresh" in line for line in log.lines)


def test_earlier_tasks_can_be_learned_again(whole: Path, tmp_path: Path) -> None:
    result, _ = run(tmp_path, f"course.loadcheck={published(whole)['4']}", "course.start_from=3", "course.stop_after=4")
    matrix = TaskMatrix.read(result.directory)
    assert matrix is not None
    assert matrix.last == 3
    _, log = run(tmp_path, "course.start_from=4", output="alone.ckpt")
    assert not any("loaded" in line for line in log.lines)
    with load_checkpoint(tmp_path / "alone.ckpt") as checkpoint:
        rows = checkpoint.state("matrix")["rows"]["accuracy"]
        assert [any(value is not None for value in row) for row in rows] == [False] * 4 + [True]
        assert checkpoint.record.task == 4


def test_joint_has_one_file(tmp_path: Path) -> None:
    _, _ = run(tmp_path, "learner=null", "learner.name=joint", "course.savecheck=task")
    (path,) = published(tmp_path).values()
    assert path.name.startswith("joint_seq-digits_0_2_")
    assert path.stem.endswith("_joint")
    with pytest.raises(OptionsError, match="expected no limits where all tasks are learned at once"):
        run(tmp_path, "learner=null", "learner.name=joint", "course.stop_after=1")


def test_a_file_of_mammoth_s_is_gone_on_from(whole: Path, tmp_path: Path) -> None:
    convert_for("Mammoth", published(whole)["1"], tmp_path / "given.pt", laid_out)
    result, log = run(tmp_path, "course.loadcheck=given.pt", "course.stop_after=3")
    text = "\n".join(log.lines)
    assert "loaded: 6 of 6 tensors" in text
    assert "loaded: results of 2 tasks" in text
    ours, theirs = states(published(whole)["1"]), states(result.model or Path())
    seen = ours["learner"]["buffer"]["seen"]
    assert f"loaded: a buffer of 30 examples, which has seen {seen} (as many as its tasks have" in text
    assert theirs["learner"]["buffer"]["seen"] > seen
    matrix = TaskMatrix.read(result.directory)
    assert matrix is not None
    assert [row[:2] for row in matrix.rows["accuracy"][:2]][1] == ours["matrix"]["rows"]["accuracy"][1][:2]
    assert matrix.last == 2


def test_what_mammoth_keeps_of_examples_comes_back_as_it_was(whole: Path, tmp_path: Path) -> None:
    convert_for("Mammoth", published(whole)["4"], tmp_path / "given.pt", laid_out)
    tree = torch.load(tmp_path / "given.pt", weights_only=True)
    tree["results"] = [rows[:4] for rows in tree["results"][:2]] + [tree["results"][2]]
    torch.save(tree, tmp_path / "given.pt")
    # No step of the last task sees more than the buffer has room for: nothing of it would be left to compare.
    overrides = ("course.loadcheck=given.pt", "architecture.training.optimizer.learning_rate=1.0e-30")
    result, log = run(tmp_path, *overrides, "checkpoints.every_steps=1", "checkpoints.keep_last=99")
    assert any("made with another lr: expected 1e-30, found 0.03" in line for line in log.lines)
    first = min((result.directory / "checkpoints").glob("step-*.ckpt"))
    before = states(published(whole)["4"])["learner"]["buffer"]["content"]["fields"]
    after = states(first)["learner"]["buffer"]["content"]["fields"]
    kept = (before["images"]["rows"] == after["images"]["rows"]).flatten(1).all(1)
    assert kept.sum() >= 20  # the first step replaced few
    assert torch.equal(before["labels"]["rows"][kept], after["labels"]["rows"][kept])
    assert torch.equal(before["recalled.logits"]["rows"][kept], after["recalled.logits"]["rows"][kept])


@pytest.mark.parametrize("wrapped", ["", "module.", "net.", "net.module."])
def test_plain_weights_are_begun_with(whole: Path, tmp_path: Path, wrapped: str) -> None:
    convert(published(whole)["2"], tmp_path / "plain.pt")
    tensors = torch.load(tmp_path / "plain.pt", weights_only=True)
    torch.save({f"{wrapped}{name}": value for name, value in tensors.items()}, tmp_path / "given.pt")
    _, log = run(tmp_path, "course.loadcheck=given.pt", "architecture.training.epochs=0", "course.stop_after=1")
    assert "loaded: 6 of 6 tensors" in log.lines
    assert "new, the file has weights alone: everything else" in log.lines
    with load_checkpoint(tmp_path / "model.ckpt") as made:
        assert same(made.state("model"), tensors)
        assert made.record.step == 0


def test_what_does_not_fit_is_said(whole: Path, tmp_path: Path) -> None:
    tensors = {"fc1.weight": torch.zeros(12, 64), "fc2.weight": torch.zeros(5, 12), "more": torch.zeros(1)}
    torch.save(tensors, tmp_path / "given.pt")
    _, log = run(tmp_path, "course.loadcheck=given.pt", "architecture.training.epochs=0")
    assert "loaded: 1 of 6 tensors" in log.lines
    assert "not loaded, of another shape: 'fc2.weight': expected float32 (12, 12), found float32 (5, 12)" in log.lines
    assert "not loaded, the file has none: 'fc1.bias'" in log.lines
    assert "not used, the model has no place for it: 'more', float32 (1,)" in log.lines
    torch.save({"other": torch.zeros(1)}, tmp_path / "none.pt")
    with pytest.raises(StateMismatchError, match=r"'none\.pt', none of whose tensors fits:\n  expected names"):
        run(tmp_path, "course.loadcheck=none.pt")


def test_what_cannot_be_begun_with(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="expected a file, found none"):
        run(tmp_path, "course.loadcheck=none.ckpt")
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ResumeError, match="found something else"):
        run(tmp_path, "course.loadcheck=a.txt")
    assert not (tmp_path / "outputs").exists()
    done = f"course.loadcheck={published(whole)['4']}"
    with pytest.raises(ResumeError, match="expected a task to learn up to number 4, found 5 tasks done"):
        run(tmp_path, done)
    with pytest.raises(ResumeError, match=r"refused: architecture\.model\.hidden") as caught:
        run(tmp_path, done, "architecture.model.hidden=[3]", "seed=4")
    assert str(caught.value).endswith("\nRestore these values: the weights fit no other model.")
    with pytest.raises(
        OptionsError, match=r"course\.loadcheck: expected null beside .* \('a\.ckpt'\), found '.*4\.ckpt'"
    ):
        run(tmp_path, done, "architecture.training.finetune.read_from=a.ckpt")
    with pytest.raises(OptionsError, match=r"course\.start_from: expected at most 4, found 5"):
        run(tmp_path, "course.start_from=5")


def test_a_file_of_another_method_names_the_one_way_to_begin_with_its_weights(whole: Path, tmp_path: Path) -> None:
    given = published(whole)["1"]
    typed = (f"course.loadcheck={given}", "course.savecheck=task", "course.stop_after=3", "course.ckpt_name=a")
    with pytest.raises(ResumeError) as caught:
        run(tmp_path, *typed, "learner=null", "learner.name=finetune")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"could not begin with '{given}': expected the options that it was saved with, found ")
    assert lines[1].strip().startswith("refused: learner.name: 'derpp' → 'finetune' (")
    assert [line for line in lines if "course." in line] == [lines[-1]]
    assert "--restart" not in str(caught.value)
    assert lines[-1] == (
        "To begin with the weights alone, leave --loadcheck (course.loadcheck) away, and name the file under "
        "architecture.training.finetune.read_from."
    )
    read_from = f"architecture.training.finetune.read_from={given}"
    zero = "architecture.training.epochs=0"
    run(tmp_path, read_from, "course.stop_after=1", zero, "learner=null", "learner.name=finetune")
    assert same(states(tmp_path / "model.ckpt")["model"], states(given)["model"])


def test_a_file_that_a_killed_process_did_not_make_is_made_by_the_next(whole: Path, tmp_path: Path) -> None:
    run(tmp_path, "course.savecheck=task", "course.stop_after=1", restart="auto")
    (made,) = published(tmp_path).values()
    made.unlink()
    result, _ = run(tmp_path, "course.savecheck=task", "course.stop_after=2", restart="auto")
    assert list(published(tmp_path)) == ["0", "1"]
    assert made.exists()
    assert len(find_runs(result.directory.parents[1])) == 1
    assert same(states(made), states(published(whole)["0"]))
