"""YAML that is broken, ambiguous or hostile, with its line; and YAML that is none of these."""

import pytest

from milepost.options import document


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("span:\n\tstart: 1\n", "o.yaml:2 found a tab; indent with spaces"),
        (
            "count: 1\nname: a: b\n",
            "o.yaml:2 broken YAML at column 8: found ':' within a value; check the indentation "
            "here and on the line above, or quote the text",
        ),
        (
            "count: 1\n  name: b\n",
            "o.yaml:2 broken YAML at column 7: found ':' within a value; check the indentation "
            "here and on the line above, or quote the text",
        ),
        (
            "count: 1\nname\nradius: 1\n",
            "o.yaml:2 broken YAML at column 1: expected 'key: value', found no ':'",
        ),
        (
            "count: 1\nname: 'abc\nradius: 1\n",
            "o.yaml:2 broken YAML at column 7: expected the closing quote, found the end",
        ),
        ("pair: [1, 2\ncount: 3\n", "o.yaml:2 broken YAML at column 6: expected ',' or ']', but got ':'"),
        ("span: {start: 1\n", "o.yaml:2 broken YAML at column 1: expected ',' or '}', but got the end"),
        ("name: @a\n", "o.yaml:1 broken YAML at column 7: found character '@' that cannot start any token"),
        (
            "span:\n  start: 1\n stop: 2\n",
            "o.yaml:3 broken YAML at column 2: the indentation does not fit the lines above",
        ),
        ("- a\nb: 1\n", "o.yaml:2 broken YAML at column 1: the indentation does not fit the lines above"),
        ("name: *a\n", "o.yaml:1 broken YAML at column 7: found undefined alias 'a'"),
        (
            "count: 1\n---\ncount: 2\n",
            "o.yaml:2 broken YAML at column 1: expected one document, found a second one after '---'",
        ),
        ("count: 1\nname: \x07\n", "o.yaml:2 expected text, found the character 0x07"),
        ("[" * 200_000, "o.yaml:1 expected at most 50 levels of nesting"),
        ("anything: " + "[" * 80 + "]" * 80, "o.yaml:1 expected at most 50 levels of nesting"),
        ("anything: &a\n  b: *a\n", "o.yaml:1 an alias stands inside the value that it repeats"),
        ("anything: &a\n  <<: *a\n", "o.yaml:2 expected the alias of another mapping after '<<'"),
        ("anything: {<<: &a {<<: *a}}\n", "o.yaml:1 expected the alias of another mapping after '<<'"),
        ("anything: {<<: 3}\n", "o.yaml:1 expected the alias of another mapping after '<<'"),
        ("3: 1\n", "o.yaml:1 3: unknown key; expected one of count, radius,"),
    ],
)
def test_broken_yaml(mistakes, text, line) -> None:
    (shown,) = mistakes(text)
    assert shown.startswith(line)


def test_a_document_of_aliases_of_aliases_is_not_written_out(mistakes, monkeypatch) -> None:
    monkeypatch.setattr(document, "MOST_VALUES", 1000)
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for name, before in zip("bcdefgh", "abcdefg", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    (shown,) = mistakes("\n".join(lines))
    assert shown.endswith("expected at most 1000 values, aliases written out")


def test_merges_of_merges_are_not_written_out(mistakes, monkeypatch) -> None:
    monkeypatch.setattr(document, "MOST_VALUES", 1000)
    lines = ["a: &a {x: 1}"]
    for name, before in zip("bcdefgh", "abcdefg", strict=True):
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}")
    (shown,) = mistakes("\n".join(lines))
    assert shown.endswith("expected at most 1000 values, aliases written out")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("count: 1\ncount: 2\n", ["o.yaml:2 count: given twice: here and on line 1"]),
        (
            "span:\n  start: 1\n  start: 2\n  strt: 1\n",
            [
                "o.yaml:3 span.start: given twice: here and on line 2",
                "o.yaml:4 span.strt: unknown key; did you mean 'start'?",
            ],
        ),
        ("anything: {1: a, '1': b}\n", ["o.yaml:1 anything.1: given twice: here and on line 1"]),
        ("[a, b]: 1\n", ["o.yaml:1 expected a text as the key, found something else"]),
        ("~: 1\n", ["o.yaml:1 expected a text as the key, found something else"]),
        ("name: !secret a\n", ["o.yaml:1 name: expected a plain value, found the tag !secret"]),
        (
            "anything: !!python/object/apply:os.system [ls]\ncount: 0\n",
            [
                "o.yaml:1 anything: expected a plain value, found the tag !!python/object/apply:os.system",
                "o.yaml:2 count: expected an integer ≥ 1, found 0",
            ],
        ),
        ('name: "\\ud800"\n', ["o.yaml:1 name: expected text, found half of a surrogate pair"]),
    ],
)
def test_ambiguous_yaml(mistakes, text, lines) -> None:
    assert mistakes(text) == lines


def test_values_on_further_lines_are_reported_at_their_own(mistakes) -> None:
    assert mistakes("pair:\n  - 1\n\n  - x\npart: [\n  1,\n  y]\n") == [
        "o.yaml:4 pair.1: expected an integer, found 'x'",
        "o.yaml:7 part.1: expected an integer, found 'y'",
    ]


def test_anchors_aliases_and_merges(read) -> None:
    text = """
sources:
  - &first {read_from: a, weight: 2}
  - <<: *first
    read_from: b
  - *first
  - {<<: [*first, {key: k, weight: 3}], read_from: c}
"""
    found = [(str(source.read_from), source.weight, source.key) for source in read(text).sources]
    assert found == [("a", 2, "energy"), ("b", 2, "energy"), ("a", 2, "energy"), ("c", 2, "k")]


def test_a_word_tagged_as_text_is_text(read) -> None:
    assert read("name: !!str 5").name == "5"


def test_the_slower_parser_gives_the_same(monkeypatch, read) -> None:
    text = "count: 3\npart: [1, 2]\nname: !!str 5\nflexible: 'on'\ntable: {a: 1e-3}\n"
    fast = read(text)
    monkeypatch.setattr(document, "_FastLoader", document._Loader)
    assert read(text) == fast
