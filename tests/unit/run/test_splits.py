"""Data are compared by content: names may change, contents and order may not."""

from pathlib import Path
from typing import Any

import pytest

from milepost.errors import ResumeError
from milepost.run.splits import check_split

PATH = Path("step-00000004.ckpt")
A, B, C = (f"blake3:{letter * 64}" for letter in "abc")


def split(*files: tuple[str, str], **parts: Any) -> dict[str, Any]:
    return {"files": {"training": {f"{i}:{name}": digest for i, (name, digest) in enumerate(files)}}, **parts}


def refusal(saved: object, found: object) -> list[str]:
    with pytest.raises(ResumeError) as caught:
        check_split(saved, found, PATH)
    first, *lines, last = str(caught.value).splitlines()
    assert first.startswith(f"could not continue from '{PATH}': the data are not those")
    assert last == "Restore the files, or start a new run, without --restart."
    return [line.strip() for line in lines]


def test_equal_splits_need_no_word():
    saved = split(("a.xyz", A), ("b.xyz", B), frames={"training": [0, 1]})
    assert check_split(saved, dict(saved), PATH) == []


def test_other_names_of_the_same_contents_are_said():
    lines = check_split(split(("a.xyz", A), ("b.xyz", B)), split(("x.xyz", A), ("b.xyz", B)), PATH)
    assert lines == ["the training set: the file 'a.xyz' is now called 'x.xyz'"]


def test_a_changed_file_is_named():
    assert refusal(split(("a.xyz", A), ("b.xyz", B)), split(("a.xyz", A), ("b.xyz", C))) == [
        "the training set: 'b.xyz': expected the content blake3:bbbbbbbbbbbbbbbb…, found blake3:cccccccccccccccc…"
    ]


def test_files_that_are_gone_and_new_are_named():
    assert refusal(split(("a.xyz", A), ("b.xyz", B)), split(("a.xyz", A), ("c.xyz", C))) == [
        "the training set: 'b.xyz': expected the content blake3:bbbbbbbbbbbbbbbb…, found no such file",
        "the training set: 'c.xyz': expected no such file, found the content blake3:cccccccccccccccc…",
    ]


def test_files_in_another_order_are_other_data():
    assert refusal(split(("a.xyz", A), ("b.xyz", B)), split(("b.xyz", B), ("a.xyz", A))) == [
        "the training set: expected the files in the order 'a.xyz', 'b.xyz', found 'b.xyz', 'a.xyz'; "
        "list them in that order"
    ]


def test_a_file_that_is_read_twice_is_another_order():
    assert refusal(split(("a.xyz", A)), split(("a.xyz", A), ("b.xyz", A))) == [
        "the training set: expected the files in the order 'a.xyz', found 'a.xyz', 'b.xyz'; list them in that order"
    ]


def test_a_set_that_is_gone_is_named_by_its_files():
    saved = {"files": {"training": {"0:a.xyz": A}, "test": {"0:t.xyz": B}}}
    assert refusal(saved, split(("a.xyz", A))) == [
        "the test set: 't.xyz': expected the content blake3:bbbbbbbbbbbbbbbb…, found no such file"
    ]


def test_numbers_of_examples_are_told_beside_a_changed_file_but_not_what_follows_from_it():
    saved = split(("a.xyz", A), frames={"training": [0, 1], "test": [2]}, fingerprints={"training": A})
    found = split(("a.xyz", B), frames={"training": [0, 1, 3], "test": [4]}, fingerprints={"training": C})
    assert refusal(saved, found)[1:] == ["frames.training: expected 2 examples, found 3"]


def test_a_split_without_files_is_compared_by_its_values():
    assert refusal({"examples": 22, "total": 1.5}, {"examples": 23, "total": 1.5}) == [
        "examples: expected 22, found 23"
    ]


@pytest.mark.parametrize("odd", [None, 3, {"files": 3}, {"files": {"training": [A]}}])
def test_a_split_of_another_form_is_no_split(odd: object):
    with pytest.raises(ResumeError, match="expected no such file, found the content"):
        check_split(odd, split(("a.xyz", A)), PATH)
