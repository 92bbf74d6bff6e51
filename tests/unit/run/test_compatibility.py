"""Every option has a class for a run that goes on, given on purpose."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest

from milepost.model import architectures
from milepost.options import ABSENT, Difference, RootOptions
from milepost.options.schema import Schema
from milepost.run.compatibility import CHANGES, RULES, named_rule, report, rule_for


def keys(options: type[RootOptions]) -> Iterator[str]:
    """List every key that may hold a value that is no section."""
    schema = Schema.of(options)
    for path in schema.everything_below():
        place = schema.at(path)
        if any(not choice.properties for choice in place.choices):
            yield ".".join(path)
        # Items of a list of sections go by their numbers.
        for inner in place.child(0).everything_below():
            if any(not choice.properties for choice in place.child(0).at(inner).choices):
                yield ".".join((*path, "0", *inner))


def every_key() -> set[str]:
    return {key for architecture in architectures() for key in keys(architecture.options_class())}


def test_there_are_keys():
    assert {"seed", "checkpoints.keep_last", "architecture.training.schedule.name"} < every_key()
    assert len(every_key()) > 50


def test_every_key_has_a_rule():
    assert sorted(key for key in every_key() if named_rule(key) is None) == [], "class them in run/compatibility.py"


def test_every_pattern_matches_a_key():
    patterns = [pattern for rule in RULES for pattern in rule.keys]
    assert [pattern for pattern in patterns if not any(fnmatchcase(key, pattern) for key in every_key())] == []


def test_no_pattern_is_given_twice():
    patterns = [pattern for rule in RULES for pattern in rule.keys]
    assert sorted(patterns) == sorted(set(patterns))


@pytest.mark.parametrize("key", ["architecture.training.noise", "architecture.noise", "checkpoints.noise", "noise"])
def test_a_key_that_nobody_has_thought_of_has_no_rule_and_is_refused(key):
    assert named_rule(key) is None
    rule = rule_for(Difference(key, 1, 2))
    assert (rule.change, rule.telling) == ("refused", True)


def test_only_refused_changes_need_another_way_and_all_of_them_have_one():
    assert {rule.change for rule in RULES} == set(CHANGES)
    assert [rule.keys for rule in RULES if (rule.change == "refused") != bool(rule.remedy)] == []


@pytest.mark.parametrize(
    ("key", "old", "new", "change"),
    [
        ("training_set.systems.read_from", "a.xyz", "b/a.xyz", "free"),
        ("training_set.systems.read_from", "a.xyz", ["a.xyz"], "free"),
        ("validation_set", "a.xyz", "b.xyz", "free"),
        ("validation_set", 0.1, 0.2, "refused"),
        ("validation_set", 0.1, "a.xyz", "refused"),
        ("test_set.systems.read_from", ABSENT, "a.xyz", "free"),
        ("test_set.indices", "0:2", "0:3", "refused"),
        ("training_set.targets.energy.unit", "eV", "meV", "refused"),
        ("architecture.training.finetune.read_from", None, "a.ckpt", "free"),
        ("architecture.training.compile", True, False, "free"),
        ("architecture.model.layers", 2, 3, "refused"),
        ("architecture.training.epochs", 2, 3, "allowed"),
    ],
)
def test_the_class_of_a_difference(key, old, new, change):
    assert rule_for(Difference(key, old, new)).change == change


def test_the_report_lists_refused_differences_first():
    found = [
        Difference("device", "cpu", "cuda"),
        Difference("seed", 1, 2),
        Difference("checkpoints.mode", "min", "max"),
    ]
    assert [line.split(" (")[0] for line in report(found)] == [
        "refused: seed: 1 → 2",
        "allowed: checkpoints.mode: 'min' → 'max'",
        "free: device: 'cpu' → 'cuda'",
    ]
