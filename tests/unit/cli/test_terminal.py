"""What a file says about itself cannot take over the terminal."""

import json

import pytest
import torch

from milepost.checkpoint import CheckpointRecord, save_checkpoint
from milepost.cli.terminal import say, visible

HIDDEN = "\x1b[2J\r\x07\x85\u202e\ud800\U000e0041"
SHOWN = r"\u001b[2J\u000d\u0007\u0085\u202e\ud800\udb40\udc41"


def test_hidden_characters_are_written_out() -> None:
    assert visible(f"a{HIDDEN}b") == f"a{SHOWN}b"
    assert visible("tab\tline\n") == r"tab\u0009line\u000a"


@pytest.mark.parametrize("text", ["", "plain", "Å → ü 中 👍", "no\u00a0break"])
def test_other_characters_stay(text: str) -> None:
    assert visible(text) == text


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\n\x1b\n", err=True)
    assert capsys.readouterr() == ("", "a\n\\u001b\n\n")


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    say(json.dumps({"name": HIDDEN}, indent=2, ensure_ascii=False))
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert json.loads(text) == {"name": HIDDEN}


def test_a_hostile_file_is_shown_and_compared_in_the_open(milepost, tmp_path) -> None:
    for number, name in enumerate(("a.ckpt", "b.ckpt")):
        record = CheckpointRecord(metadata={"na\x1b[31mme\n": "evil\x1b]0;title\x07"}, created="now")
        model = {"w\x1b[1A": torch.full((1,), number)}
        save_checkpoint(tmp_path / name, {"model": model}, record=record, durability="process")
    found = milepost("show", tmp_path / "a.ckpt").out
    assert r"  na\u001b[31mme\u000a  evil\u001b]0;title\u0007" in found.splitlines()
    assert "\x1b" not in found
    assert "\x1b" not in milepost("show", "--json", tmp_path / "a.ckpt").out
    found = milepost("diff", tmp_path / "a.ckpt", tmp_path / "b.ckpt").out
    assert r"  model.w\u001b[1A: 1 of 1 numbers differ, by at most 1, relative 1" in found.splitlines()
    (tmp_path / "a\x1b.ckpt").write_bytes(b"")
    for verb in ("verify", "show"):
        ended = milepost(verb, tmp_path / "a\x1b.ckpt")
        assert r"a\u001b.ckpt" in ended.out + ended.err
        assert "\x1b" not in ended.out + ended.err
