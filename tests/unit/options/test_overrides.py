"""Overrides: nested keys, list items, values typed as in the file, and what is wrong with those that fail."""

from pathlib import Path

import pytest

SOURCES = "sources:\n  - read_from: a\n  - read_from: b\n"


def test_nested_keys_and_sections_that_the_file_lacks(read) -> None:
    options = read("count: 1", "count=2", "span.stop=5", "source.read_from=c.xyz", "anything.a.b.c=1")
    assert options.count == 2
    assert options.span.stop == 5
    assert options.source.read_from == Path("c.xyz")
    assert options.anything == {"a": {"b": {"c": 1}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e-3", 1e-3),
        ("'1'", "1"),
        ("true", True),
        ("on", "on"),
        ("null", None),
        ("", None),
        ("[1, a]", [1, "a"]),
        ("{a: 1, b: [2]}", {"a": 1, "b": [2]}),
        ("two words", "two words"),
        ("a=b", "a=b"),
        ("http://a/b", "http://a/b"),
        (" 3 ", 3),
    ],
)
def test_values_are_typed_as_in_the_file(read, text, value) -> None:
    assert read("count: 1", f"anything.key={text}").anything == {"key": value}


@pytest.mark.parametrize("key", ["sources.1.key", "sources[1].key"])
def test_list_items(read, key) -> None:
    options = read(SOURCES, f"{key}=k")
    assert [source.key for source in options.sources] == ["energy", "k"]


def test_items_of_plain_lists(read) -> None:
    assert read("pair: [3, 4]", "pair.0=7").pair == (7, 4)


def test_sections_are_merged_and_all_else_replaced(read) -> None:
    options = read("span: {start: 1, stop: 2}\npair: [1, 2]\npart: [1]", "span={stop: 3}", "pair=[5, 6]", "part=0.5")
    assert (options.span.start, options.span.stop) == (1, 3)
    assert options.pair == (5, 6)
    assert options.part == 0.5
    assert read("part: [1]", "flexible=on", "flexible.stop=3").flexible.stop == 3


def test_the_last_of_several_wins(read) -> None:
    assert read("count: 1", "count=2", "count=3").count == 3


def test_an_override_corrects_the_file(read) -> None:
    assert read("count: wrong\nspan: {start: x}", "count=1", "span.start=2").span.start == 2


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("count", "-r count expected key=value, with dots between nested keys"),
        ("name=\udcff", "-r name=\\udcff expected UTF-8 text, found other bytes"),
        ("=3", "-r =3 expected key=value, with dots between nested keys"),
        ("a..b=3", "-r a..b=3 expected key=value, with dots between nested keys"),
        ("sources.2.key=k", "-r sources.2.key=k sources has no item 2; expected an index from 0 to 1"),
        ("sources[-1].key=k", "-r sources[-1].key=k sources has no item -1; expected an index from 0 to 1"),
        ("sources.key=k", "-r sources.key=k sources has no item key; expected an index from 0 to 1"),
        ("sources.1.kee=k", "-r sources.1.kee=k sources.1.kee: unknown key; did you mean 'key'?"),
        ("count=zero", "-r count=zero count: expected an integer ≥ 1, found 'zero'"),
        ("span={strt: 1}", "-r span={strt: 1} span.strt: unknown key; did you mean 'start'?"),
        ("count.x=1", "-r count.x=1 count: expected an integer ≥ 1, found a section"),
        (
            "name=@a",
            "-r name=@a broken YAML at column 1: found character '@' that cannot start any token; "
            "quote the value if it is text",
        ),
        ("name=!x 1", "-r name=!x 1 expected a plain value, found the tag !x"),
        (
            ".".join("a" * 60) + "=1",
            "-r a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.… expected at most 50 levels of nesting",
        ),
    ],
)
def test_mistakes(mistakes, override, line) -> None:
    assert mistakes(SOURCES, override) == [line]


def test_an_empty_list_has_no_items(mistakes) -> None:
    assert mistakes("sources: []", "sources.0.key=a") == ["-r sources.0.key=a sources has no item 0; the list is empty"]


def test_mistakes_of_overrides_are_reported_with_those_of_broken_files(mistakes) -> None:
    assert mistakes("a: b: c", "nothing", "count=0") == [
        "o.yaml:1 broken YAML at column 5: found ':' within a value; check the indentation here and on the "
        "line above, or quote the text",
        "-r nothing expected key=value, with dots between nested keys",
    ]


def test_a_rule_between_fields_belongs_to_the_file_where_the_section_stands(mistakes) -> None:
    assert mistakes("count: 1\nspan:\n  start: 4\n", "span.stop=3") == [
        "o.yaml:2 span: expected stop ≥ start = 4, found 3"
    ]
