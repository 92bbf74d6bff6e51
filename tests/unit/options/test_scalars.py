"""Words become values by the rules of YAML 1.2, and every value is written so that it comes back."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from milepost.options.scalars import Placeholder, Switch, read_plain, write_scalar

CASES = {
    "": None,
    "~": None,
    "null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "false": False,
    "tRUE": "tRUE",
    "5": 5,
    "-5": -5,
    "+5": 5,
    "010": 10,
    "0o10": 8,
    "0x1F": 31,
    "0b11": "0b11",
    "1_000": "1_000",
    "1e-3": 1e-3,
    "1E5": 1e5,
    "1e+5": 1e5,
    "-1.5e-3": -1.5e-3,
    "1.": 1.0,
    ".5": 0.5,
    "+.5": 0.5,
    ".": ".",
    "1.2.3": "1.2.3",
    "e5": "e5",
    "1e": "1e",
    "inf": "inf",
    "nan": "nan",
    ".inf": math.inf,
    "-.INF": -math.inf,
    "1:30": "1:30",
    "2024-01-01": "2024-01-01",
    "12 34": "12 34",
    "٣": "٣",
    "9" * 500: float("9" * 500),
}


@pytest.mark.parametrize(("word", "value"), CASES.items(), ids=[word[:10] for word in CASES])
def test_reading(word, value) -> None:
    read = read_plain(word)
    assert read == value
    assert type(read) is type(value)


def test_a_number_that_is_not_one_is_nan() -> None:
    read = read_plain(".nan")
    assert isinstance(read, float)
    assert math.isnan(read)


@pytest.mark.parametrize("word", ["yes", "No", "ON", "off"])
def test_switches_are_text_until_more_is_known(word) -> None:
    assert read_plain(word) == word
    assert isinstance(read_plain(word), Switch)


def test_the_placeholder_is_told_from_text() -> None:
    assert isinstance(read_plain("???"), Placeholder)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (1e-5, "1.0e-05"),
        (1.5e300, "1.5e+300"),
        (0.1, "0.1"),
        (1.0, "1.0"),
        (-math.inf, "-.inf"),
        ("validation/loss", "validation/loss"),
        ("two words", "two words"),
        ("no", '"no"'),
        ("Y", '"Y"'),
        ("", '""'),
        ("1e-3", '"1e-3"'),
        ("a: b", '"a: b"'),
        ("${a}", '"\\\\${a}"'),
        ("tab\tline\n", '"tab\\tline\\n"'),
        ("Å\x85\u2028\ufeff", '"Å\\x85\\u2028\\ufeff"'),
    ],
)
def test_writing(value, text) -> None:
    assert write_scalar(value) == text


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)


@given(scalars)
def test_what_is_written_is_read_back_by_this_and_by_yaml_1_1(value) -> None:
    text = write_scalar(value)
    for read in (read_plain(text), yaml.safe_load(text)):
        assert read == value
        assert type(read) is type(value)


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: "${" not in text))
def test_text_is_read_back_by_yaml_1_1(text) -> None:
    assert yaml.safe_load(write_scalar(text)) == text
