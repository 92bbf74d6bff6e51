"""Short lists are compared item by item; sections of tensors alone are told by their tensors."""

import pytest

from milepost.checkpoint.aligning import LISTED, Emptied, aligned
from milepost.options import differences


def told(a: object, b: object) -> list[str]:
    """List what differs, as `milepost diff` does."""
    return [str(each) for each in differences(*aligned({"x": a}, {"x": b}))]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([[1.5, None], [2, 3]], [[1.5, None], [2, 4]], ["x.1.1: 3 → 4"]),
        ([1, 2], [1, 2], []),
        ([1, 2], [1, 3], ["x.1: 2 → 3"]),
        ([1, 2], [1, 2, 3], ["x: [1, 2] → [1, 2, 3]"]),
        ([1], {"a": 1}, ["x: [1] → a section"]),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, ["x.a.b.0: 1 → 2"]),
    ],
)
def test_lists_are_told_by_place(a: object, b: object, expected: list[str]) -> None:
    assert told(a, b) == expected


def test_a_long_list_is_compared_as_a_whole() -> None:
    assert told([1] * (LISTED + 1), [2] * (LISTED + 1)) == [
        f"x: a list of {LISTED + 1} items → a list of {LISTED + 1} items"
    ]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"fields": Emptied()}, {}, []),
        ({"store": {"fields": Emptied(), "length": 3}}, {}, ["x.store.length: 3 → absent"]),
        ({"fields": Emptied()}, {"fields": {}}, []),
        ({"fields": {}}, {}, ["x.fields: an empty section → absent"]),
        ({"fields": Emptied()}, {"fields": 1}, ["x.fields: an empty section → 1"]),
    ],
)
def test_a_section_of_tensors_says_nothing_where_the_other_side_has_none(
    a: object, b: object, expected: list[str]
) -> None:
    assert told(a, b) == expected
    assert len(told(b, a)) == len(expected)
