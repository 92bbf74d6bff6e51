"""Interpolations take values from elsewhere; those that can't are reported with their line."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from milepost.options.document import read_yaml
from milepost.options.draft import Draft
from milepost.options.interpolation import resolve_interpolations
from milepost.options.mistakes import Origin, Origins
from milepost.options.scalars import write_scalar


def test_values_of_the_same_file_and_of_the_environment(read, monkeypatch) -> None:
    monkeypatch.setenv("MILEPOST_TEST_DATA", "/data")
    text = """
count: 3
part: ${oc.env:MILEPOST_TEST_DATA}/a.xyz
span: {start: "${count}", stop: "${.start}"}
sources:
  - {read_from: a, weight: "${radius}"}
  - ${sources.0}
radius: 2.5
anything: {section: "${span}", text: "n = ${count}", literal: "\\\\${count}", item: "${sources[0].read_from}"}
"""
    options = read(text)
    assert options.part == Path("/data/a.xyz")
    assert (options.span.start, options.span.stop) == (3, 3)
    assert options.sources[1] == options.sources[0]
    assert options.anything == {
        "section": {"start": 3, "stop": 3},
        "text": "n = 3",
        "literal": "${count}",
        "item": "a",
    }


def test_overrides_take_part(read) -> None:
    assert read("count: 1\nspan: {stop: '${count}'}", "count=7").span.stop == 7
    assert read("count: 7", "span.stop=${count}").span.stop == 7


def test_a_switch_stays_a_switch(read) -> None:
    assert read("switch: on\nflexible: ${switch}").flexible is True


def test_all_that_can_not_be_resolved_is_reported(mistakes, monkeypatch) -> None:
    monkeypatch.delenv("MILEPOST_TEST_DATA", raising=False)
    text = """\
count: ${cuont}
radius: ${oc.env:MILEPOST_TEST_DATA}
name: ${name}
part: ${part
switch: ${unheard.of:3}
anything: {a: "${.b}", b: "${.a}"}
span: {start: "${pair}"}
mode: ${colour}
colour: ???
"""
    found = mistakes(text, "pair=${nowhere}")
    head = "this interpolation can't be resolved:"
    assert found[:6] == [
        f"o.yaml:1 count: {head} interpolation key 'cuont' not found",
        f'o.yaml:2 radius: {head} keyError raised while resolving interpolation: "Environment variable '
        "'MILEPOST_TEST_DATA' not found\"",
        f"o.yaml:3 name: {head} recursive interpolation detected",
        "o.yaml:4 part: expected ${key}, or \\${ for the text itself, found '${part'",
        f"o.yaml:5 switch: {head} unsupported interpolation type unheard.of",
        f"o.yaml:6 anything.a: {head} recursive interpolation detected",
    ]
    assert found[-1].startswith("-r pair=${nowhere} pair: this interpolation can't be resolved")
    assert [line.split()[1] for line in found[6:-1]] == ["anything.b:", "span.start:", "mode:", "colour:"]


@given(st.text("${}\\ a", max_size=12))
def test_a_text_that_is_written_comes_back_without_interpolation(text) -> None:
    draft = Draft("o", {}, Origins(Origin(0, 0, "o")))
    data = read_yaml(f"key: {write_scalar(text)}", draft, lambda line: Origin(0, line, "o"))
    assert isinstance(data, dict)
    draft.data = data
    resolve_interpolations(draft)
    assert draft.mistakes == []
    assert draft.data == {"key": text}
