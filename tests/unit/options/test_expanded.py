"""Expanded options: readable, complete, and equal when read back."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from milepost.options import (
    OptionsModel,
    RootOptions,
    TrainingOptions,
    compose_options,
    expanded_yaml,
    load_options,
)


class Free(OptionsModel):
    anything: dict[str, Any] = Field(default={})


class Empty(OptionsModel):
    pass


def test_every_default_is_written_with_its_unit_and_description(kitchen) -> None:
    expanded = expanded_yaml(kitchen(count=2))
    assert expanded.startswith(
        "count: 2  # Number of things\n"
        "radius: 5.0  # [Å] Reach\n"
        "name: a\n"
        "switch: false\n"
        "mode: min\n"
        "colour: red\n"
        "part: null\n"
        "sources: []\n"
        "source: null\n"
    )
    assert "span:\n  start: 0\n  stop: 10\npair: [1, 2]\ntable: {}\n" in expanded


def test_sections_and_lists_come_back(read) -> None:
    text = """
count: 3
part: a b/c.xyz
sources:
  - {read_from: a, weight: 2}
  - {read_from: '5', key: "no"}
source: {read_from: c}
data: [{read_from: d}]
flexible: 'on'
table: {a: 1e-9, '1': 2}
numbered: {1: 2}
anything: {deep: [[1, [2, {a: null}]], {}, [], {b: [{c: .inf}]}], '${x}': '\\${x}', '': x, y: '???'}
"""
    options = read(text)
    expanded = expanded_yaml(options)
    assert read(expanded) == options
    assert (
        "  - read_from: a  # File that is read\n    key: energy\n    weight: 2.0  # [kg] Weight in the loss\n"
        in expanded
    )


def test_long_lists_are_wrapped(read) -> None:
    options = read(f"part: {list(range(1000, 1100))}")
    expanded = expanded_yaml(options)
    assert max(map(len, expanded.splitlines())) <= 110
    assert read(expanded) == options


def test_a_long_description_stands_above(kitchen) -> None:
    root = compose_options(RootOptions, kitchen, TrainingOptions)
    options = load_options("o.yaml", root, text="architecture: {name: a, model: {sources: [{read_from: a}]}}")
    expanded = expanded_yaml(options)
    assert max(map(len, expanded.splitlines())) <= 110
    assert load_options("o.yaml", root, text=expanded) == options
    assert "every_minutes: null  # [minutes] Save after so much time\n" in expanded


def test_any_yaml_reads_the_same_values(kitchen) -> None:
    options = kitchen(radius=1e-7, name="no", anything={"a": "1e-3", "b": [True, "true"]})
    assert yaml.safe_load(expanded_yaml(options)) == options.model_dump(mode="json")


def test_options_without_keys(read) -> None:
    assert expanded_yaml(Empty()) == "{}\n"
    assert read("{}", model=Empty) == Empty()


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["no", "${a}", "\\${a}", "???", "1e5", "- a", "#", "<<", "null", "2024-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab<${}#-: 1é", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b c", "on", "1", "<<", "${x}"]), values, max_size=3))
def test_whatever_the_values_are_they_come_back(anything) -> None:
    options = Free(anything=anything)
    again = load_options("o.yaml", Free, text=expanded_yaml(options))
    assert again == options
    assert repr(again) == repr(options)
