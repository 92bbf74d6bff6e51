"""What can be wrong with the file itself, and what load_options gives when nothing is."""

import os
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from milepost.errors import MilepostError, OptionsError
from milepost.options import OptionsModel, find_value, load_options


def test_a_file_is_read_with_defaults_for_all_else(kitchen, tmp_path) -> None:
    path = tmp_path / "options.yaml"
    path.write_text("count: 3\npart: data/a.xyz\nspan: {stop: 4}\npair: [3, 4]\ncolour: green\nnumbered: {1: 2}\n")
    options = load_options(path, kitchen)
    assert options.count == 3
    assert options.part == Path("data/a.xyz")
    assert (options.span.start, options.span.stop) == (0, 4)
    assert options.pair == (3, 4)
    assert options.colour.value == "green"
    assert options.numbered == {1: 2.0}
    assert options.radius == 5.0


def test_options_are_frozen_and_strict(read, kitchen) -> None:
    options = read("count: 3")
    with pytest.raises(ValidationError, match="frozen"):
        options.count = 4
    for wrong in (
        {"count": "3"},
        {"count": 3.0},
        {"switch": 1},
        {"name": 3},
        {"table": {"a": "1"}},
        {"pair": ["1", 2]},
    ):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            kitchen(**wrong)
    assert kitchen(pair=[3, 4], part="a.xyz").pair == (3, 4)


def test_an_integer_is_a_number_and_true_is_not(read, mistakes) -> None:
    assert read("radius: 3").radius == 3.0
    assert mistakes("radius: true") == ["o.yaml:1 radius: expected a number > 0 [Å], found true"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("0.1", 0.1),
        ("1e-3", 1e-3),
        ("a.xyz", Path("a.xyz")),
        ("[1, 2]", (1, 2)),
        ("null", None),
        ("no", Path("no")),
    ],
)
def test_an_option_may_be_of_several_kinds(read, text, part) -> None:
    assert read(f"part: {text}").part == part


@pytest.mark.parametrize(
    ("word", "value"),
    [("on", True), ("yes", True), ("off", False), ("No", False), ("true", True), ("a.yaml", Path("a.yaml"))],
)
def test_on_and_off_are_switches_only_where_a_switch_is_expected(read, word, value) -> None:
    assert read(f"flexible: {word}").flexible == value
    assert read(f"flexible: '{word}'").flexible == Path(word)
    if isinstance(value, bool):
        assert read(f"switch: {word}").switch is value


def test_yes_and_no_stay_text_elsewhere(read) -> None:
    options = read("name: no\nanything: {NO: on}\ntable: {on: 1, off: 2}")
    assert options.name == "no"
    assert options.anything == {"NO": "on"}
    assert options.table == {"on": 1.0, "off": 2.0}


def test_overrides_alone_make_options(kitchen) -> None:
    assert load_options(None, kitchen, ["count=2"]).count == 2
    with pytest.raises(OptionsError, match=r"options can't be used: 1 mistake\.\n  -r count=0  count: expected"):
        load_options(None, kitchen, ["count=0"])


def test_the_error_is_a_value_error_in_the_tree() -> None:
    assert issubclass(OptionsError, MilepostError)
    assert issubclass(OptionsError, ValueError)


def refused(path: Path, model: type) -> str:
    """Return the only line between head and foot of the report, without the path."""
    with pytest.raises(OptionsError) as caught:
        load_options(path, model)
    head, line, foot = str(caught.value).splitlines()
    assert head == f"{path} can't be used: 1 mistake."
    assert foot == "Correct it and run the command again; `milepost options schema` prints every key."
    return line.replace(str(path), "PATH").strip()


def test_a_missing_file(kitchen, tmp_path) -> None:
    assert refused(tmp_path / "optoins.yaml", kitchen) == "PATH  expected a file, found nothing"
    (tmp_path / "options.yaml").touch()
    line = refused(tmp_path / "optoins.yaml", kitchen)
    assert line == "PATH  expected a file, found nothing; did you mean 'options.yaml'?"


def test_a_file_in_a_missing_folder(kitchen, tmp_path) -> None:
    assert refused(tmp_path / "none" / "o.yaml", kitchen) == "PATH  expected a file, found nothing"


def test_a_directory(kitchen, tmp_path) -> None:
    assert refused(tmp_path, kitchen) == "PATH  expected a file, found a directory"


def test_a_path_through_a_file(kitchen, tmp_path) -> None:
    (tmp_path / "file").touch()
    line = refused(tmp_path / "file" / "o.yaml", kitchen)
    assert line == "PATH  expected a file that can be read, found: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else(kitchen, tmp_path) -> None:
    (tmp_path / "o.yaml").touch(mode=0o000)
    line = refused(tmp_path / "o.yaml", kitchen)
    assert line == "PATH  expected a file that can be read, found: Permission denied"


def test_a_file_that_is_not_utf8(kitchen, tmp_path) -> None:
    (tmp_path / "o.yaml").write_bytes("count: 1\nname: Ångström\n".encode("latin-1"))
    assert refused(tmp_path / "o.yaml", kitchen) == "PATH:2  expected UTF-8 text, found the byte 0xc5"


def test_a_checkpoint_in_place_of_options(kitchen, tmp_path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"PK\x03\x04\x2d\x00\x00\x00")
    line = refused(tmp_path / "model.ckpt", kitchen)
    assert line == "PATH:1  expected text, found the character 0x03"


def test_a_file_that_is_too_large(kitchen, tmp_path) -> None:
    with (tmp_path / "o.yaml").open("wb") as file:
        file.truncate(5 * 2**20)
    assert refused(tmp_path / "o.yaml", kitchen) == "PATH  expected a file of at most 4 MiB, found a larger one"


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "~"])
def test_an_empty_file(kitchen, tmp_path, text) -> None:
    (tmp_path / "o.yaml").write_text(text)
    assert refused(tmp_path / "o.yaml", kitchen) == "PATH  expected lines of 'key: value', found none"


@pytest.mark.parametrize(
    ("text", "what"), [("- a\n- b\n", "['a', 'b']"), ("word", "'word'"), ("3.5", "3.5"), ("[]", "[]")]
)
def test_a_file_that_is_no_mapping(kitchen, tmp_path, text, what) -> None:
    (tmp_path / "o.yaml").write_text(text)
    assert refused(tmp_path / "o.yaml", kitchen) == f"PATH  expected lines of 'key: value', found {what}"


def test_a_byte_order_mark_and_windows_line_ends(kitchen, tmp_path) -> None:
    (tmp_path / "o.yaml").write_bytes("\ufeffcount: 2\r\nradius: -1\r\n".encode())
    assert refused(tmp_path / "o.yaml", kitchen) == "PATH:2  radius: expected a number > 0 [Å], found -1"


def test_a_placeholder_must_be_filled_in(mistakes, read) -> None:
    assert mistakes("count: ???") == ["o.yaml:1 count: expected an integer ≥ 1, found ???"]
    assert mistakes("anything:\n  a: ???") == ["o.yaml:2 anything.a: expected a value, found ???"]
    assert read("count: ???", "count=3").count == 3
    assert read("name: '???'").name == "???"


class Short(OptionsModel):
    """A section that may be written as a single path."""

    read_from: Path
    pair: tuple[int, int] = (1, 2)
    colour: Literal["red", "green"] = "red"
    numbered: dict[int, float] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: object) -> object:
        return {"read_from": value} if isinstance(value, str) else value


class Shorts(OptionsModel):
    one: Short


def test_a_section_may_have_a_short_form(read, mistakes) -> None:
    assert read("one: a.xyz", model=Shorts).one == Short(read_from=Path("a.xyz"))
    options = read("one: {read_from: a.xyz, pair: [3, 4], colour: green, numbered: {1: 2}}", model=Shorts)
    assert options.one.pair == (3, 4)
    assert options.one.numbered == {1: 2.0}
    assert mistakes("one:\n  read_from: a.xyz\n  pair: [3]", model=Shorts) == [
        "o.yaml:3 one.pair: expected a list of 2 integers, found [3]"
    ]


def test_one_value_can_be_found_before_the_rest_is_valid() -> None:
    text = "architecture:\n  name: cairn\nwrong: [1, {a: '${architecture.name}'}]\n"
    assert find_value("o.yaml", "architecture.name", text=text) == "cairn"
    assert find_value("o.yaml", "wrong.1.a", text=text) == "cairn"
    assert find_value("o.yaml", "architecture.name", ["architecture.name=other"], text) == "other"
    assert find_value("o.yaml", "architecture.none", text=text) is None
    assert find_value("o.yaml", "wrong.7", text=text) is None
    assert find_value("o.yaml", "architecture.name.more", text=text) is None
    with pytest.raises(OptionsError, match="expected a file, found nothing"):
        find_value("/none/o.yaml", "a")
