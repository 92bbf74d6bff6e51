"""The tutorial on sequences of tasks, followed from its first command to its last."""

import signal
from pathlib import Path

import pytest

from docs.pages import ROOT, blocks, commands
from milepost.cli import main
from milepost.learning import pictures
from milepost.learning.matrix import TaskMatrix
from milepost.run.progress import Reporter

PAGE = list(blocks(ROOT / "docs" / "tutorial" / "first-sequence.md"))
QUICK = ("-r", "checkpoints.durability=process", "-r", "architecture.training.batch_size=40", "--no-export")
"""What makes the runs of the page quick, and changes nothing of what it says of files and of stopping."""
STOPPED = 75
DIFFERENT = 1


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def at_hand(word: str) -> str:
    """Put what the first run has here in the place of the page's: its folder, and the model that it would export."""
    if word == "digits.onnx":
        return "digits.ckpt"
    return str(min(Path("outputs").glob("*/*-*-*"))) if word.startswith("outputs/") else word


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send what Ctrl-C sends when so many steps are done."""
    told = Reporter.step

    def counted(self: Reporter, done: int) -> None:
        told(self, done)
        if done == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Reporter, "step", counted)


def test_the_tutorial_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options, evaluation = (block.text for block in PAGE if block.language == "yaml")
    Path("digits.yaml").write_text(options, encoding="utf-8")
    Path("eval.yaml").write_text(evaluation, encoding="utf-8")
    drawn: list[Path] = []
    monkeypatch.setattr(pictures, "draw_matrix", lambda matrix, folder: drawn.append(folder))
    shown = ""
    for block in (block for block in PAGE if block.language == "console"):
        for call in commands(block, "milepost"):
            changes, expected = QUICK if call[0] == "train" else (), DIFFERENT if call[0] == "diff" else 0
            with monkeypatch.context() as while_it_trains:
                if "^C" in block.text:
                    interrupt_at(50, while_it_trains)
                    expected = STOPPED
                assert run(*(at_hand(word) for word in call), *changes) == expected, call
            shown += capsys.readouterr().out
    assert len(drawn) == 5, "of each run at its end, and of the one that is stopped then, too"
    assert "12 tensors equal, 0 not" in shown
    assert "accuracy on each task" in shown
    assert {path.name for path in Path().glob("*.ckpt")} == {
        "digits.ckpt",
        "forgetful.ckpt",
        "mixed.ckpt",
        "again.ckpt",
    }
    averages = [found.average("accuracy") for found in map(TaskMatrix.read, dict.fromkeys(drawn)) if found is not None]
    replayed, forgetful, mixed, again = averages
    assert forgetful < 25 < replayed <= mixed + 5
    assert again == replayed
    assert f"accuracy {replayed:6.2f} %" in shown
