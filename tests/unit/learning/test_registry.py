"""Learners are found by name, and their older options and states become ones of today."""

from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from milepost.errors import ArchiveError, OptionsError, UnsupportedVersionError
from milepost.learning import learners as own
from milepost.learning import registry
from milepost.learning.registry import LearnerSpec, find_learner, learners


def rename(options: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    state["seen"] = state.pop("count")
    return {**options, "size": options["places"]}, state


def double(options: dict[str, Any], state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return options, {"seen": 2 * state["seen"]}


THIRD = replace(find_learner("er"), version=3, upgrades={1: rename, 2: double})


def test_all_are_listed_and_found_by_name() -> None:
    names = [spec.name for spec in learners()]
    assert len(names) == len(own.__all__) == 13
    assert [find_learner(name).name for name in names] == names
    with pytest.raises(OptionsError, match=r"found 'dre'; did you mean 'der'"):
        find_learner("dre")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("no_such_package_at_all:learner", "ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ("milepost.learning.learners:Balanced", "AttributeError: .*'Balanced'"),
    ],
)
def test_a_package_that_can_not_be_imported_is_named(monkeypatch, value: str, found: str) -> None:
    monkeypatch.setattr(registry, "_points", lambda: {"broken": EntryPoint("broken", value, registry.GROUP)})
    with pytest.raises(OptionsError, match=f"could not load the learner 'broken' from '{value}': {found}.*Correct or"):
        find_learner("broken")


def test_every_version_before_todays_has_its_step() -> None:
    for spec in learners():
        assert sorted(spec.upgrades) == list(range(1, spec.version))


@pytest.mark.parametrize("upgrades", [{}, {2: double}, {1: rename, 2: double, 3: double}])
def test_a_version_without_its_step_is_refused(upgrades: Any) -> None:
    with pytest.raises(ValueError, match=r"learner 'er' can't read its older states: .* \[1, 2\], found"):
        replace(THIRD, upgrades=upgrades)


def test_steps_follow_each_other() -> None:
    assert THIRD.upgrade(1, {"places": 7}, {"count": 4}) == ({"places": 7, "size": 7}, {"seen": 8})
    assert THIRD.upgrade(2, {}, {"seen": 4}) == ({}, {"seen": 8})
    assert THIRD.upgrade(3, {}, {"seen": 4}) == ({}, {"seen": 4})


@pytest.mark.parametrize("version", [0, 4])
def test_a_version_that_is_not_known_is_refused_with_what_to_install(version: int) -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        THIRD.upgrade(version, {}, {}, to_install="install this", where="a.ckpt")
    assert str(caught.value) == (
        "could not read what the learner 'er' remembers in 'a.ckpt': expected version 1 to 3, "
        f"found {version}: install this."
    )


def test_a_state_that_is_not_what_its_version_says_is_refused() -> None:
    with pytest.raises(ArchiveError) as caught:
        THIRD.upgrade(1, {}, {})
    assert str(caught.value) == (
        "could not carry what the learner 'er' remembers from version 1 to 2: KeyError: 'count'. "
        "Use another file of the run."
    )


def test_a_spec_needs_no_steps_at_its_first_version() -> None:
    er = find_learner("er")
    assert LearnerSpec("mine", 1, "", er.options, er.build).upgrade(1, {"a": 1}, {"b": 2}) == ({"a": 1}, {"b": 2})
