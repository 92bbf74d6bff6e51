"""Verbs are found, errors end without a traceback, and nothing heavy is imported before it is needed."""

import subprocess
import sys

import pytest

from milepost.cli import main as package_main
from milepost.cli.main import VERBS, group
from milepost.errors import MilepostError


def test_there_is_a_module_for_every_verb() -> None:
    assert len(VERBS) == 12
    context = group.make_context("milepost", ["show", "x"])
    for verb in VERBS:
        command = group.get_command(context, verb)
        assert command is not None
        assert command.name == verb


def test_help_lists_every_verb(milepost) -> None:
    ended = milepost("--help")
    assert ended.status == 0
    for verb, summary in VERBS.items():
        assert f"  {verb} " in ended.out
        assert summary in ended.out


def test_version(milepost) -> None:
    import milepost as package

    assert milepost("--version").out == f"milepost, version {package.__version__}\n"


def test_a_mistyped_verb_is_guessed(milepost) -> None:
    ended = milepost("trian", "options.yaml")
    assert ended.status == 2
    verbs = "train, export, runs, watch, eval, show, verify, diff, convert, options, architectures, learners"
    assert f"expected one of {verbs}, found 'trian'" in ended.err
    assert "Did you mean 'train'?" in ended.err


def test_an_unlike_verb_is_not_guessed(milepost) -> None:
    ended = milepost("xyzzy")
    assert ended.status == 2
    assert "found 'xyzzy'." in ended.err
    assert "Did you mean" not in ended.err


def test_no_verb_prints_help(milepost) -> None:
    ended = milepost()
    assert ended.status == 2
    assert "architectures" in ended.err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (MilepostError("could not do it: expected 1, found 2. Do this."), 1, "error: could not do it"),
        (KeyboardInterrupt(), 130, ""),
        (
            PermissionError(13, "Permission denied", "there/file"),
            1,
            "could not use 'there/file': Permission denied",
        ),
    ],
)
def test_errors_become_a_message_and_a_status(milepost, monkeypatch, error, status, text) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        raise error

    monkeypatch.setattr(group, "main", fail)
    ended = milepost("show", "x")
    assert ended.status == status
    assert text in ended.err
    assert "Traceback" not in ended.err


def test_an_error_that_is_no_file_of_the_user_is_not_hidden(monkeypatch) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError("something inside")

    monkeypatch.setattr(group, "main", fail)
    with pytest.raises(OSError, match="something inside"):
        package_main(["show", "x"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["architectures"],
        ["architectures", "--json"],
        ["learners"],
        ["show", "x"],
        ["verify", "x"],
        ["diff", "--help"],
        ["convert", "--help"],
        ["runs"],
        ["watch", "--once"],
    ],
    ids=" ".join,
)
def test_quick_commands_import_no_torch(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from milepost.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('torch' in sys.modules, 'ase' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "False False"


def test_help_imports_next_to_nothing() -> None:
    program = (
        "import sys\n"
        "from milepost.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        "    pass\n"
        "print(sorted({'numpy', 'pydantic', 'rich', 'torch', 'yaml'} & set(sys.modules)))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
