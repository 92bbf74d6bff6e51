"""What users of Mammoth are used to sets keys of the options, which are kept with the run."""

from typing import Literal

import click
import pytest
from click.testing import CliRunner

from milepost.cli.task_options import given, task_options
from milepost.errors import OptionsError
from milepost.options import RootOptions, load_options


@click.command()
@task_options
def command() -> None:
    """Print what was set."""
    click.echo("\n".join(given()))


def overrides(*arguments: str) -> list[str]:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return result.output.split("\n")[:-1]


def test_nothing_is_set_by_default() -> None:
    assert overrides() == [""]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--savecheck", "task"], 'course.savecheck="task"'),
        (["--savecheck=last"], 'course.savecheck="last"'),
        (["--loadcheck", "checkpoints/a b: c.pt"], 'course.loadcheck="checkpoints/a b: c.pt"'),
        (["--loadcheck", "https://h/a.pt?download=true"], 'course.loadcheck="https://h/a.pt?download=true"'),
        (["--ckpt-name", "mine"], 'course.ckpt_name="mine"'),
        (["--ckpt_name", "mine"], 'course.ckpt_name="mine"'),
        (["--start-from", "2"], "course.start_from=2"),
        (["--start_from=0"], "course.start_from=0"),
        (["--stop-after", "3"], "course.stop_after=3"),
        (["--stop_after", "3"], "course.stop_after=3"),
    ],
)
def test_each_sets_a_key(arguments: list[str], expected: str) -> None:
    assert overrides(*arguments) == [expected]


def test_values_are_read_as_they_were_given() -> None:
    text = "architecture: {name: x}\nlearner: {name: derpp, buffer_size: 3}"
    names = ["--loadcheck", 'C:\\a "b" {x: 1} é.pt', "--ckpt-name", "1.0", "--start-from", "1", "--stop-after", "2"]
    options = load_options(None, RootOptions, overrides(*names, "--savecheck", "task"), text=text)
    assert options.course.model_dump() == {
        "loadcheck": 'C:\\a "b" {x: 1} é.pt',
        "start_from": 1,
        "stop_after": 2,
        "savecheck": "task",
        "ckpt_name": "1.0",
    }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--ckpt_name", "a/b"], "  --ckpt-name a/b  course.ckpt_name: expected a name without slashes"),
        (["--start-from", "-1"], "  --start-from -1  course.start_from: expected an integer ≥ 0 or null, found -1"),
        (["--stop-after=0"], "  --stop-after 0  course.stop_after: expected an integer ≥ 1 or null, found 0"),
        (["--joint"], "  --joint  learner: "),
    ],
)
def test_a_mistake_is_reported_under_the_flag_that_was_typed(arguments: list[str], line: str) -> None:
    class Root(RootOptions):
        learner: Literal["er"] = "er"  # type: ignore[assignment]

    given_by: list[tuple[str, ...]] = []

    @click.command()
    @task_options
    def asking() -> None:
        given_by.append(given())

    CliRunner().invoke(asking, arguments)
    with pytest.raises(OptionsError) as caught:
        load_options(None, Root, given_by[0], text="architecture: {name: x}")
    assert str(caught.value).splitlines()[1].startswith(line)


def test_joint_takes_the_place_of_another_learner() -> None:
    text = "architecture: {name: x}\nlearner: {name: derpp, buffer_size: 3}"
    options = load_options(None, RootOptions, overrides("--joint"), text=text)
    assert options.learner.model_dump() == {"name": "joint"}


@pytest.mark.parametrize("address", ["https://me:pw@h/a.pt", "https://h/a.pt?token=secret"])
def test_no_secret_is_taken_or_repeated(address: str) -> None:
    result = CliRunner().invoke(command, ["--loadcheck", address])
    assert result.exit_code == 2
    assert "may hold a secret" in " ".join(result.output.split())
    assert "pw" not in result.output
    assert "token" not in result.output


@pytest.mark.parametrize("wrong", [["--savecheck", "all"], ["--start-from", "x"], ["--stop-after"]])
def test_a_wrong_value(wrong: list[str]) -> None:
    assert CliRunner().invoke(command, wrong).exit_code == 2
