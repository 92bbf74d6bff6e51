"""Every kind of mistake in values and keys: its place, what was expected, what was found."""

import pytest
from pydantic import Field, field_validator

from milepost.errors import OptionsError
from milepost.options import OptionsModel, load_options


class Model(OptionsModel):
    cutoff: float = Field(gt=0, json_schema_extra={"unit": "Å"})


class Training(OptionsModel):
    batch_size: int = 1


class Architecture(OptionsModel):
    name: str
    training: Training = Training()
    model: Model


class Root(OptionsModel):
    seed: int = 0
    device: str = "cpu"
    architecture: Architecture


def test_the_report_reads_as_documented() -> None:
    text = """\
architecture:
  name: cairn
  training:
    bach_size: 5


  model:

    # as in the paper
    cutoff: -5.0
"""
    with pytest.raises(OptionsError) as caught:
        load_options("options.yaml", Root, ["sed=1"], text)
    assert str(caught.value) == (
        "options.yaml can't be used: 3 mistakes.\n"
        "  options.yaml:4   architecture.training.bach_size: unknown key; did you mean 'batch_size'?\n"
        "  options.yaml:10  architecture.model.cutoff: expected a number > 0 [Å], found -5.0\n"
        "  -r sed=1         sed: unknown key; did you mean 'seed'?\n"
        "Correct them and run the command again; `milepost options schema` prints every key."
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("count: two", "count: expected an integer ≥ 1, found 'two'"),
        ("count: 0", "count: expected an integer ≥ 1, found 0"),
        ("count: 1.5", "count: expected an integer ≥ 1, found 1.5"),
        ("count: 1e3", "count: expected an integer ≥ 1, found 1000.0; write 1000"),
        ("count: '3'", "count: expected an integer ≥ 1, found '3'; remove the quotes"),
        ("count: true", "count: expected an integer ≥ 1, found true"),
        ("count:", "count: expected an integer ≥ 1, found null"),
        ("radius: '5.0'", "radius: expected a number > 0 [Å], found '5.0'; remove the quotes"),
        ("radius: 5 Å", "radius: expected a number > 0 [Å], found '5 Å'"),
        ("radius: .inf", "radius: expected a number > 0 [Å], found inf"),
        ("radius: .nan", "radius: expected a number > 0 [Å], found nan"),
        ("radius: [1]", "radius: expected a number > 0 [Å], found [1]"),
        ("radius: {a: 1}", "radius: expected a number > 0 [Å], found a section"),
        ("radius: {}", "radius: expected a number > 0 [Å], found an empty section"),
        ("name: 5", "name: expected a text, found 5; quote it if it is text"),
        ("name: true", "name: expected a text, found true; quote it if it is text"),
        ("name:", "name: expected a text, found null"),
        ("switch: 1", "switch: expected true or false, found 1"),
        ("switch: maybe", "switch: expected true or false, found 'maybe'"),
        ("mode: mix", "mode: expected 'min' or 'max', found 'mix'; did you mean 'min'?"),
        ("mode: MAX", "mode: expected 'min' or 'max', found 'MAX'; did you mean 'max'?"),
        ("mode: 7", "mode: expected 'min' or 'max', found 7"),
        ("colour: gren", "colour: expected 'red' or 'green', found 'gren'; did you mean 'green'?"),
        ("span: 4", "span: expected a section (start, stop), found 4"),
        ("span: {stop: x}", "span.stop: expected an integer, found 'x'"),
        ("pair: [1]", "pair: expected a list of 2 integers, found [1]"),
        ("pair: [1, 2, 3]", "pair: expected a list of 2 integers, found [1, 2, 3]"),
        ("pair: [1, x]", "pair.1: expected an integer, found 'x'"),
        ("table: {a: x}", "table.a: expected a number, found 'x'"),
        ("table: 1", "table: expected a section, found 1"),
        ("numbered: {one: 1.0}", "numbered.one: expected an integer as the key, found 'one'"),
        (
            "sources: {read_from: a}",
            "sources: expected a list of sections (read_from, key, weight), found a section",
        ),
        ("sources: [a]", "sources.0: expected a section (read_from, key, weight), found 'a'"),
        ("sources: [{key: a}]", "sources.0.read_from: missing; expected a path"),
        ("source: 3", "source: expected a section (read_from, key, weight) or null, found 3"),
        ("source: {read_from: a, weight: -1}", "source.weight: expected a number > 0 [kg], found -1"),
    ],
)
def test_wrong_values(mistakes, text, line) -> None:
    assert mistakes(text) == [f"o.yaml:1 {line}"]


FRACTION_AND_MORE = "expected a number > 0 and < 1, a path, a list of integers or null"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("part: 1.5", f"part: {FRACTION_AND_MORE}, found 1.5"),
        ("part: true", f"part: {FRACTION_AND_MORE}, found true"),
        ("part: {a: 1}", f"part: {FRACTION_AND_MORE}, found a section"),
        ("part: [1, a]", "part.1: expected an integer, found 'a'"),
        ("data: {key: 1}", "data.read_from: missing; expected a path"),
        ("data: [{reed_from: a}]", "data.0.reed_from: unknown key; did you mean 'read_from'?"),
        ("data: [1]", "data.0: expected a section (read_from, key, weight), found 1"),
        ("flexible: {stop: x}", "flexible.stop: expected an integer, found 'x'"),
        ("flexible: {start: 4, stop: 3}", "flexible: expected stop ≥ start = 4, found 3"),
        ("flexible: 3", "flexible: expected true or false, a path or a section (start, stop), found 3"),
    ],
)
def test_options_of_several_kinds_report_the_kind_that_was_meant(mistakes, text, line) -> None:
    assert f"o.yaml:1 {line}" in mistakes(text)
    assert len(mistakes(text)) == (2 if "key: 1" in text or "reed" in text else 1)


def test_unknown_keys_at_any_depth(mistakes) -> None:
    text = "cuont: 1\nspan:\n  strat: 1\nsources:\n  - read_from: a\n  - read_from: b\n    wieght: 1\n"
    assert mistakes(text) == [
        "o.yaml:1 cuont: unknown key; did you mean 'count'?",
        "o.yaml:3 span.strat: unknown key; did you mean 'start'?",
        "o.yaml:7 sources.1.wieght: unknown key; did you mean 'weight'?",
    ]


def test_a_key_of_another_section_is_shown_its_place(mistakes) -> None:
    text = "architecture:\n  batch_size: 3\n  name: a\n  model: {cutoff: 1}\n"
    assert mistakes(text, model=Root) == [
        "o.yaml:2 architecture.batch_size: unknown key; did you mean 'architecture.training.batch_size'?"
    ]


def test_a_key_like_no_other_is_answered_with_the_known_ones(mistakes) -> None:
    assert mistakes("span: {zzz: 1}") == ["o.yaml:1 span.zzz: unknown key; expected one of start, stop"]


def test_missing_keys_are_reported_at_their_section(mistakes) -> None:
    assert mistakes("seed: 1\narchitecture:\n  name: a\n", model=Root) == [
        "o.yaml:2 architecture.model: missing; expected a section (cutoff)"
    ]
    assert mistakes("seed: 1", model=Root) == [
        "o.yaml architecture: missing; expected a section (name, training, model)"
    ]


def test_rules_between_fields_are_reported_at_their_section(mistakes) -> None:
    assert mistakes("count: 1\nspan:\n  start: 4\n  stop: 3\nradius: 0\n") == [
        "o.yaml:2 span: expected stop ≥ start = 4, found 3",
        "o.yaml:5 radius: expected a number > 0 [Å], found 0",
    ]


def test_field_validators_speak_for_themselves(mistakes) -> None:
    class Even(OptionsModel):
        number: int

        @field_validator("number")
        @classmethod
        def _even(cls, number: int) -> int:
            if number % 2:
                raise ValueError(f"expected an even number, found {number}")
            return number

    assert mistakes("number: 3", model=Even) == ["o.yaml:1 number: expected an even number, found 3"]


def test_no_word_of_pydantic_leaks(mistakes) -> None:
    wrong = "[count, radius, switch, part, sources, source, data, flexible, span, pair, table, anything]"
    text = "\n".join(f"{key}: wrong" for key in wrong[1:-1].split(", ") if key not in ("part", "flexible"))
    text += "\npart: {}\nflexible: []\ncolour: []\nmode: {}\nnumbered: 3\nname: []\n"
    report = "\n".join(mistakes(text))
    assert report.count("\n") == 15
    for word in (
        "Input should",
        "valid",
        "union",
        "_type",
        "constrained",
        "function-",
        "lax",
        "[type=",
        "pydantic",
    ):
        assert word not in report


def test_mistakes_are_sorted_by_line_then_by_override(mistakes) -> None:
    text = "span: {zzz: 1}\nradius: 0\nxxx: 1\ncount: 0\n"
    places = [line.split()[0:2] for line in mistakes(text, "yyy=1", "name=3")]
    assert [place[0] for place in places] == ["o.yaml:1", "o.yaml:2", "o.yaml:3", "o.yaml:4", "-r", "-r"]
    assert [place[1] for place in places[4:]] == ["yyy=1", "name=3"]
