"""The tables of the reference are those that the program makes."""

import pytest

from docs.reference import END, MADE, PAGES, START, commands, current, framed
from milepost.cli.main import VERBS
from milepost.model import find_architecture
from milepost.options.schema import Schema


@pytest.mark.parametrize("name", MADE)
def test_a_page_is_up_to_date(name: str) -> None:
    assert current(name) == framed(name), "run `python tests/docs/reference.py`"


@pytest.mark.parametrize("name", MADE)
def test_a_page_has_its_marks_once(name: str) -> None:
    text = (PAGES / name).read_text(encoding="utf-8")
    assert text.count(START) == text.count(END) == 1


def test_every_command_is_there() -> None:
    names = [name for name, _ in commands()]
    assert set(VERBS) < set(names)
    assert [name for name in names if f"### milepost {name}\n" not in current("cli.md")] == []


def test_every_key_is_there() -> None:
    text = current("options.md")
    schema = Schema.of(find_architecture("cairn").options_class())
    keys = {path[-1] for path in schema.everything_below()}
    assert len(keys) > 40
    sections = {part for line in text.splitlines() if line.startswith("### ") for part in line.strip("#` ").split(".")}
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    listed = {part for row in rows for part in row.split("`")[1].split(".")}
    inner = {word.strip("(),") for row in rows for word in row.split("|")[2].split()}
    assert keys - sections - listed - inner == set()
