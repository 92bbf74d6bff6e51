"""Checks against the world report in the same list as all other mistakes, and never because of one of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from milepost.errors import OptionsError
from milepost.options import Objection, load_options
from milepost.options.checking import Check

Checked = Callable[..., list[str]]


@pytest.fixture
def checked(kitchen) -> Checked:
    """Read a text with checks; return the report's lines with single spaces, none where nothing is wrong."""

    def call(text: str, *checks: Check, overrides: tuple[str, ...] = ()) -> list[str]:
        try:
            load_options("o.yaml", kitchen, overrides, text, checks=checks)
        except OptionsError as error:
            return [" ".join(line.split()) for line in str(error).splitlines()[1:-1]]
        return []

    return call


def absent_sources(options: Any) -> Iterator[Objection]:
    """Find no file at all."""
    for index, source in enumerate(options.sources):
        yield Objection(f"sources.{index}.read_from", f"found nothing at {source.read_from}")


def absent_name(options: Any) -> Iterator[Objection]:
    """Know no name but that of the mode."""
    if options.name != options.mode:
        yield Objection("name", f"expected {options.mode}, found {options.name}", ("mode",))


def test_an_objection_has_the_line_of_its_value(checked) -> None:
    text = "sources:\n  - read_from: a.xyz\n  - key: a\n    read_from: b.xyz\n"
    assert checked(text, absent_sources) == [
        "o.yaml:2 sources.0.read_from: found nothing at a.xyz",
        "o.yaml:4 sources.1.read_from: found nothing at b.xyz",
    ]
    assert checked("count: 1", absent_sources) == []


def test_a_value_that_is_not_given_has_the_line_of_the_section_around_it(checked) -> None:
    def at_default(options: Any) -> Iterator[Objection]:
        yield Objection("span.stop", "too far")

    assert checked("count: 1\nspan:\n  start: 1\n", at_default) == ["o.yaml:2 span.stop: too far"]
    assert checked("span: {start: 1}", at_default, overrides=("span.stop=3",)) == ["-r span.stop=3 span.stop: too far"]


OTHERS = {
    "count: none": "count: expected an integer",
    "cuont: 1": "cuont: unknown key",
    "span: {start: 11}": "span: expected stop",
    "pair: [1, 2, 3]": "pair: expected a list of 2 integers",
    "pair: [1, two]": "pair.1: expected an integer",
    "data: {read_from: 3}": "data.read_from: expected a path",
    "radius: ???": "radius: expected a number",
    "radius: !!set 3": "radius: expected a plain value",
    "count: 1\ncount: 2": "count: given twice",
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_mistake_hides_nothing(checked, other) -> None:
    found = checked(f"sources: [{{read_from: a.xyz}}]\n{other}\n", absent_sources)
    assert found[0] == "o.yaml:1 sources.0.read_from: found nothing at a.xyz"
    assert len(found) == 2
    assert OTHERS[other] in found[1]


def test_what_was_judged_by_a_mistake_is_not_reported(checked) -> None:
    assert checked("name: max", absent_name) == ["o.yaml:1 name: expected min, found max"]
    (found,) = checked("name: max\nmode: mx", absent_name)
    assert found == "o.yaml:2 mode: expected 'min' or 'max', found 'mx'; did you mean 'max'?"


def test_what_had_to_be_left_out_with_a_mistake_is_doubtful_only_where_it_was_given(checked) -> None:
    def judged_by_the_end(options: Any) -> Iterator[Objection]:
        yield Objection("name", "judged", ("span.stop",))

    text = "name: max\nspan: {start: one}"
    assert len(checked(text, judged_by_the_end)) == 2
    assert len(checked("name: max\nspan: {start: one, stop: -1}", judged_by_the_end)) == 1


@pytest.mark.parametrize("text", ["sources: [{read_from: 3}]", "sources: [{read_from: a.xyz}, {read_from: 3}]"])
def test_a_list_with_a_mistake_in_it_is_not_judged(checked, text) -> None:
    (found,) = checked(text, absent_sources)
    assert "read_from: expected a path, found 3" in found


@pytest.mark.parametrize(
    ("text", "overrides"),
    [("- a", ()), ("count: [", ()), ("count: 1", ("count",)), ("sources: [{key: a}]\nsource: {key: a}", ())],
    ids=["no mapping", "broken", "broken override", "what has no default"],
)
def test_nothing_is_judged_where_there_are_no_options(checked, text, overrides) -> None:
    def always(options: Any) -> Iterator[Objection]:
        yield Objection("sources.0.read_from", "judged")

    found = checked(text, always, overrides=overrides)
    assert found
    assert not any("judged" in line for line in found)
