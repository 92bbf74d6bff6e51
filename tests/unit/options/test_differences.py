"""Differences between options, key by key."""

import math

import pytest

from milepost.options import ABSENT, Difference, differences


def test_equal_options_do_not_differ(kitchen) -> None:
    assert differences(kitchen(count=2), kitchen(count=2)) == []


def test_keys_are_dotted_and_items_counted(read) -> None:
    old = read("count: 1\nspan: {stop: 5}\nsources: [{read_from: a}, {read_from: b}]\npair: [1, 2]")
    new = read("count: 2\nspan: {stop: 6}\nsources: [{read_from: a}, {read_from: c}]\npair: [1, 3]")
    assert differences(old, new) == [
        Difference("count", 1, 2),
        Difference("sources.1.read_from", "b", "c"),
        Difference("span.stop", 5, 6),
        Difference("pair", [1, 2], [1, 3]),
    ]
    assert str(differences(old, new)[1]) == "sources.1.read_from: 'b' → 'c'"


def test_what_only_one_side_has_is_listed_key_by_key() -> None:
    found = differences({"a": 1, "b": {"c": 1, "d": {}}}, {"a": 1, "e": [{"f": 2}]})
    assert found == [
        Difference("b.c", 1, ABSENT),
        Difference("b.d", {}, ABSENT),
        Difference("e.0.f", ABSENT, 2),
    ]
    assert str(found[0]) == "b.c: 1 → absent"


def test_from_nothing_every_value_is_listed(kitchen) -> None:
    found = differences({}, kitchen())
    assert Difference("count", ABSENT, 1) in found
    assert Difference("span.stop", ABSENT, 10) in found
    assert differences({"a": {}}, {"a": {"b": 1}}) == [Difference("a.b", ABSENT, 1)]
    assert differences({"a": []}, {"a": [{"b": 1}]}) == [Difference("a.0.b", ABSENT, 1)]


def test_a_section_in_place_of_a_value(read) -> None:
    (only,) = differences(read("count: 1"), read("source: {read_from: a}"))
    assert only.key == "source"
    assert only.old is None
    assert only.new["read_from"] == "a"


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [
        (1, 1.0, False),
        (1, True, True),
        ([1], [True], True),
        (math.nan, math.nan, False),
        (0, None, True),
        ([], {}, True),
        ([1, 2], [1], True),
    ],
)
def test_what_counts_as_a_difference(old, new, differ) -> None:
    assert bool(differences({"a": old}, {"a": new})) is differ
