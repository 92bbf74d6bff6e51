"""Every command that a page shows is one that the program takes."""

import re

import click
import pytest

from docs.pages import PAGES, ROOT, Block, all_blocks, commands
from milepost.cli.main import VERBS, group

SHELL = all_blocks("console", "sh")
CALLS = [(block.where, call) for block in SHELL for call in commands(block, "milepost")]
MENTIONED = re.compile(r"`milepost ([a-z]+)([^`]*)`")


def parse(arguments: list[str]) -> None:
    """Parse a command line without running it; raises ClickException where it is wrong."""
    whole = click.Context(group, info_name="milepost", **group.context_settings)
    command = group.get_command(whole, arguments[0])
    if command is None:
        raise click.UsageError(f"no verb '{arguments[0]}'")
    rest = arguments[1:]
    if isinstance(command, click.Group):
        inner = command.commands.get(rest[0])
        if inner is None:
            raise click.UsageError(f"no verb '{rest[0]}'")
        command, rest = inner, rest[1:]
    command.make_context(arguments[0], list(rest), parent=whole)


def test_there_are_commands_of_every_verb() -> None:
    assert {call[0] for _, call in CALLS} == set(VERBS)


@pytest.mark.parametrize(("where", "call"), CALLS, ids=[f"{w} {' '.join(c)}"[:90] for w, c in CALLS])
def test_a_command_parses(where: str, call: list[str]) -> None:
    parse(call)


@pytest.mark.parametrize("call", [["trian", "x"], ["train"], ["show", "--no-such", "x"], ["options", "print"]])
def test_a_wrong_command_does_not(call: list[str]) -> None:
    with pytest.raises(click.ClickException):
        parse(call)


@pytest.mark.parametrize(("where", "call"), CALLS, ids=[f"{w} {' '.join(c)}"[:90] for w, c in CALLS])
def test_files_of_this_project_exist(where: str, call: list[str]) -> None:
    own = [word for word in call if word.startswith(("examples/", "docs/", "tests/"))]
    assert [name for name in own if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_verbs_in_the_text_exist(page) -> None:
    found = MENTIONED.findall(page.read_text(encoding="utf-8"))
    assert [verb for verb, _ in found if verb not in VERBS] == []
    for verb, rest in found:
        words = rest.split()
        if words and words[0].isalpha() and verb == "options":
            parse([verb, words[0], "options.yaml" if words[0] == "expand" else "cairn"])


def test_targets_of_make_exist() -> None:
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {call[0] for block in SHELL for call in commands(block, "make") if call}
    assert asked
    assert asked <= rules


def test_continued_lines_and_redirections_are_read() -> None:
    block = Block("x", "console", "$ milepost train a.yaml \\\n    -c auto\n$ milepost options schema > s.json\n")
    assert list(commands(block, "milepost")) == [["train", "a.yaml", "-c", "auto"], ["options", "schema"]]
