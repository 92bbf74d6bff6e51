"""What a learner remembers, and what a run over tasks saves, change only together with a version."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from compat import memories, store, stored_run, stored_tasks
from milepost.checkpoint.upgrades import TRAINING_STATE_VERSION
from milepost.learning import LearnerSpec, find_learner, registry
from milepost.learning.keeping import Reservoir
from milepost.learning.matrix import TaskMatrix

ASK = "run `python tests/compat/store.py`"


def advice(version: int) -> str:
    return (
        f"Older files would no longer open. {{}} then {ASK}. "
        f"Only where version {version} was never released: run that command alone, with --unreleased."
    )


def remedy(name: str) -> str:
    """Say what to do where a learner changed."""
    version = find_learner(name).version
    step = (
        f"In milepost/learning/learners/__init__.py give '{name}' upgrades[{version}], a step that leads from the old "
    )
    return advice(version).format(f"{step}options and state to the new ones, which makes its version {version + 1};")


def complaint(name: str, found: dict[str, str]) -> str | None:
    """Say what to do where a learner's options or state differ from those that are stored for its version."""
    version = find_learner(name).version
    path = memories.stored(name, version)
    if not path.exists():
        return f"nothing is stored of the learner '{name}' version {version}: {ASK}"
    changed = stored_run.differences(json.loads(path.read_text("utf-8")), found)
    if not changed:
        return None
    what = f"what the learner '{name}' remembers changed and its version is still {version}:\n  "
    return what + "\n  ".join(changed) + "\n" + remedy(name)


def state_complaint(name: str, found: dict[str, str]) -> str | None:
    """Say what to do where a checkpoint over tasks is made of other parts than the newest stored one."""
    number = max(stored_tasks.numbers(name), default=0)
    if not stored_tasks.current(name):
        return f"no checkpoint of '{name}' is stored of the versions {stored_tasks.versions(name)}: {ASK}"
    changed = stored_run.differences(stored_run.structure(stored_tasks.paths(name, number)[0]), found)
    if not changed:
        return None
    if all(line.startswith("learner") for line in changed):
        return "the learner changed:\n  " + "\n  ".join(changed) + "\n" + remedy(name)
    version = TRAINING_STATE_VERSION
    step = (
        f"In milepost/checkpoint/upgrades.py raise TRAINING_STATE_VERSION to {version + 1} and add UPGRADES[{version}],"
    )
    return (
        f"the training state changed and its version is still {version}:\n  "
        + "\n  ".join(changed)
        + "\n"
        + advice(version).format(f"{step} which leads from the old state to the new one;")
        + " Where it is a learner or an architecture that changed, raise its version instead."
    )


def test_every_learner_is_watched() -> None:
    assert sorted(memories.NAMES) == sorted(spec.name for spec in registry.learners())
    assert sorted(memories.FOLDER.iterdir()) == sorted(
        memories.stored(spec.name, version) for spec in registry.learners() for version in range(1, spec.version + 1)
    )


@pytest.mark.parametrize("name", memories.NAMES)
def test_what_a_learner_remembers_changes_only_with_its_version(name: str) -> None:
    problem = complaint(name, memories.today(name))
    if problem:
        pytest.fail(problem, pytrace=False)


def test_the_structure_reaches_every_part_of_what_is_remembered() -> None:
    for name, place, kind in (
        ("er", "ragged, training.buffer.content.fields.points.shapes", "int64 (9, 2)"),
        ("er", "classified, ended.drawn", "int"),
        ("er-ace", "classified, begun.buffer.seen", "int"),
        ("der", "classified, training.buffer.content.fields.recalled.logits.rows", "float32 (9, 6)"),
        ("gem", "classified, ended.buffer.content.fields.labels.rows", "int64 (9,)"),
        ("agem", "classified, ended.choices.words", "int"),
        ("gdumb", "classified, training.beginning.hidden.weight", "float32 (8, 6)"),
        ("icarl", "classified, ended.exemplars.counts[][]", "int"),
        ("icarl", "classified, ended.teacher.classifier.bias", "float32 (6,)"),
        ("si", "options.xi", "<class 'float'>"),
    ):
        found = json.loads(memories.stored(name, find_learner(name).version).read_text("utf-8"))
        assert found.get(place) == kind, (name, place, found)
    for name in set(memories.NAMES) - {"finetune", "joint"}:
        places = json.loads(memories.stored(name, find_learner(name).version).read_text("utf-8"))
        assert any(" (" in kind for kind in places.values()), name


def test_a_change_of_a_buffer_is_noticed_in_every_learner_that_keeps_one(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Reservoir.state_dict

    def renamed(self: Reservoir) -> dict[str, Any]:
        state = saved(self)
        state["offered"] = state.pop("seen")
        return state

    monkeypatch.setattr(Reservoir, "state_dict", renamed)
    for name in ("er", "er-ace", "der", "derpp"):
        problem = complaint(name, memories.today(name))
        assert problem is not None, name
        assert "classified, training.buffer.seen: expected int, found nothing" in problem
        assert "classified, training.buffer.offered: expected nothing, found int" in problem
        assert f"give '{name}' upgrades[1], a step" in problem
    assert complaint("icarl", memories.today("icarl")) is None


def test_the_file_of_a_version_that_was_raised_is_asked_for_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = dataclasses.replace(find_learner("er"), version=2, upgrades={1: lambda options, state: (options, state)})
    load = registry._loaded

    def loaded(point: Any) -> LearnerSpec:
        return second if point.name == "er" else load(point)

    monkeypatch.setattr(registry, "_loaded", loaded)
    assert complaint("er", {}) == f"nothing is stored of the learner 'er' version 2: {ASK}"
    problem = state_complaint("er", {})
    assert problem is not None
    assert ASK in problem
    first = memories.stored("er", 1).read_bytes(), stored_tasks.paths("er", 1)[0].read_bytes()
    for module in (memories, stored_tasks):
        folder = tmp_path / module.FOLDER.name
        folder.mkdir()
        for path in module.FOLDER.iterdir():
            folder.joinpath(path.name).write_bytes(path.read_bytes())
        monkeypatch.setattr(module, "FOLDER", folder)
    written = [write() for write in store.missing(replace=False)]
    assert [path.name for path in written] == ["er-v2.json", "er-v2.ckpt"]
    assert all(path.is_relative_to(tmp_path) for path in written)
    assert (memories.stored("er", 1).read_bytes(), stored_tasks.paths("er", 1)[0].read_bytes()) == first
    assert stored_tasks.known("er", 2)["versions"]["learner er"] == 2
    assert complaint("er", memories.today("er")) is None


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make the stored checkpoints again, with the code of today."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_tasks, "FOLDER", tmp_path_factory.mktemp("fresh"))
        return {name: stored_tasks.store(name, 1) for name in stored_tasks.LEARNERS}


@pytest.mark.parametrize("name", stored_tasks.LEARNERS)
def test_the_state_of_a_run_over_tasks_changes_only_with_a_version(name: str, fresh: dict[str, Path]) -> None:
    problem = state_complaint(name, stored_run.structure(fresh[name]))
    if problem:
        pytest.fail(problem, pytrace=False)


@pytest.mark.parametrize("name", stored_tasks.LEARNERS)
def test_every_version_has_its_stored_file(name: str) -> None:
    numbers = stored_tasks.numbers(name)
    assert numbers == list(range(1, len(numbers) + 1))
    for key in ("training_state", f"learner {name}"):
        today = stored_tasks.versions(name)[key]
        known = {stored_tasks.known(name, number)["versions"][key] for number in numbers}
        assert known == set(range(1, today + 1)), key


def test_the_structure_reaches_every_part_of_the_state() -> None:
    lines = {name: stored_run.structure(stored_tasks.paths(name, 1)[0]) for name in stored_tasks.LEARNERS}
    for name, place, kind in (
        ("er", "learner.buffer.content.fields.images.rows", "uint8 (12, 1, 8, 8)"),
        ("er", "manifest.versions.learner er", "int"),
        ("er", "manifest.lineage[].step", "int"),
        ("er", "matrix.rows.task_accuracy[][]", "NoneType"),
        ("er", "facts.class_names[]", "str"),
        ("er", "model.fc1.weight", "float64 (4, 64)"),
        ("icarl", "manifest.metadata.predicts with", "str"),
        ("icarl", "learner.teacher.classifier.weight", "float64 (10, 4)"),
        ("icarl", "learner.exemplars.counts[][]", "int"),
    ):
        assert lines[name].get(place) == kind, (place, sorted(lines[name].items()))


@pytest.mark.parametrize(
    ("owner", "expected", "what"),
    [
        (Reservoir, "learner.buffer.more: expected nothing, found int", "give 'er' upgrades[1]"),
        (TaskMatrix, "matrix.more: expected nothing, found int", "raise TRAINING_STATE_VERSION to"),
    ],
)
def test_a_change_of_the_code_is_noticed(
    owner: Any, expected: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = owner.state_dict
    monkeypatch.setattr(owner, "state_dict", lambda self: saved(self) | {"more": 1})
    path = stored_tasks.checkpoint_of(stored_tasks.run(tmp_path, "er"))
    monkeypatch.undo()
    stored_run.write_small(path, tmp_path / "small.ckpt")
    problem = state_complaint("er", stored_run.structure(tmp_path / "small.ckpt"))
    assert problem is not None
    assert expected in problem
    assert what in problem
