"""A section that is given in part keeps the other values of its default."""

from typing import Any

from pydantic import Field

from milepost.options import OptionsModel, expanded_yaml, load_options


class Inner(OptionsModel):
    name: str = "a"
    x: int = 1
    y: int = 2
    arguments: dict[str, Any] = Field(default={})


class Middle(OptionsModel):
    inner: Inner = Inner(x=10, arguments={"k": [1]})
    z: int = 3


class Outer(OptionsModel):
    middle: Middle = Middle(z=30)
    other: Middle = Field(default_factory=lambda: Middle(inner=Inner(y=20)))
    maybe: Inner | None = Inner(x=100)
    plain: Inner = Field(default_factory=Inner)
    bare: Inner | None = None


def read(text: str) -> Outer:
    return load_options("o.yaml", Outer, text=text)


def test_what_is_left_out_comes_from_the_default_of_the_section() -> None:
    options = read("middle: {inner: {y: 5}}\nother: {inner: {x: 6}}\nmaybe: {y: 7}\nplain: {y: 8}\nbare: {y: 9}")
    assert options.middle == Middle(z=30, inner=Inner(x=10, y=5, arguments={"k": [1]}))
    assert options.other == Middle(inner=Inner(x=6, y=20))
    assert options.maybe == Inner(x=100, y=7)
    assert options.plain == Inner(y=8)
    assert options.bare == Inner(y=9)


def test_an_override_changes_one_key_only() -> None:
    options = load_options(None, Outer, ["middle.inner.y=5"])
    assert options.middle.inner == Inner(x=10, y=5, arguments={"k": [1]})
    assert options.middle.z == 30


def test_another_name_takes_the_defaults_of_the_class() -> None:
    assert read("middle: {inner: {name: b}}").middle.inner == Inner(name="b")
    assert read("middle: {inner: {name: a}}").middle.inner == Inner(x=10, arguments={"k": [1]})


def test_null_and_empty_sections_are_what_they_say() -> None:
    assert read("maybe: null").maybe is None
    assert read("maybe: {}").maybe == Inner(x=100)


def test_expanded_options_come_back() -> None:
    for text in ("{}", "middle: {inner: {name: b}}", "maybe: null"):
        options = read(text)
        assert read(expanded_yaml(options)) == options
