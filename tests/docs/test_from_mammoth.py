"""The page for users of Mammoth, followed from its first command to its last."""

import re
from pathlib import Path

import pytest
import torch

from docs.pages import ROOT, blocks, commands
from milepost.cli import main
from milepost.learning import pictures

PAGE = list(blocks(ROOT / "docs" / "how-to" / "from-mammoth.md"))
QUICK = ("-r", "checkpoints.durability=process", "-r", "architecture.training.batch_size=100", "--no-export")
"""What makes the runs of the page quick, and changes nothing of what it says."""

FIRST = 1
"""Place of the first run among the page's commands."""


def test_the_page_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "draw_matrix", lambda matrix, folder: None)
    (options,) = [block.text for block in PAGE if block.language == "yaml"]
    Path("options.yaml").write_text(options, encoding="utf-8")
    calls = [call for block in PAGE if block.language == "console" for call in commands(block, "milepost")]
    for call in calls:
        if "theirs.pt" in call and not Path("theirs.pt").exists():
            leave_theirs()
        changes = QUICK if call[0] == "train" else ()
        # The first run has a model of its own: the page speaks of one run that is stopped, and of another that is not.
        first = ("-o", "whole.ckpt") if call is calls[FIRST] else ()
        run(*(at_hand(word) for word in call), *changes, *first)
    whole, second = torch.load("ours.pt", weights_only=True), Path("second.ckpt")
    run("convert", "second.ckpt", "-o", "second.pt", "--to", "mammoth")
    assert second.is_file()
    again = torch.load("second.pt", weights_only=True)
    assert whole["results"] == again["results"]
    assert all(torch.equal(value, again["model"][name]) for name, value in whole["model"].items())
    names = [path.name for path in Path("checkpoints").iterdir()]
    assert sum(bool(re.fullmatch(r"mine_derpp_seq-digits_200_1_\d{8}-\d{6}_[0-4]\.ckpt", name)) for name in names) == 5


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code in (0, None), arguments


def at_hand(word: str) -> str:
    """Put the name that the file has here in the place of the one with the page's time."""
    if "20260131-120005" not in word:
        return word
    key, equals, path = word.rpartition("=")
    (found,) = Path().glob(re.sub(r"\d{8}-\d{6}", "*", path))
    return f"{key}{equals}{found}"


def leave_theirs() -> None:
    """Write a file as Mammoth would after two tasks."""
    (found,) = Path("checkpoints").glob("mine_*_1.ckpt")
    run("convert", str(found), "-o", "theirs.pt", "--to", "mammoth")
