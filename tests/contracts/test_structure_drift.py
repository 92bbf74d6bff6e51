"""What files are made of changes only together with its version, so that older files open.

Four things have a version: the tensors of an architecture, the training state, the container, and what a learner
remembers, of which `test_learner_drift` takes care.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from compat import archives, memories, networks, store, stored_run, stored_tasks
from milepost.archive.layout import FORMAT_VERSION
from milepost.checkpoint.upgrades import TRAINING_STATE_VERSION
from milepost.model import architectures, find_architecture
from milepost.run.session import Best

Rows = networks.Rows
STORED = (".ckpt", ".json", ".zip")


def differences(stored: Rows, found: Rows) -> list[str]:
    """Say what changed, one line for each tensor or fact."""
    names = sorted(stored.keys() | found.keys())
    return [
        f"{name}: expected {_words(stored.get(name))}, found {_words(found.get(name))}"
        for name in names
        if stored.get(name) != found.get(name)
    ]


def _words(row: dict[str, object] | None) -> str:
    return "nothing" if row is None else f"{row['kind']} {row['shape']} {row['type']}"


def complaint(name: str, found: Rows) -> str | None:
    """Say what to do where tensors or facts differ from those that are stored for this version."""
    version, path = find_architecture(name).version, networks.stored(name, find_architecture(name).version)
    if not path.exists():
        return f"nothing is stored of '{name}' version {version}: run `python tests/compat/store.py`"
    changed = differences(json.loads(path.read_text("utf-8")), found)
    if not changed:
        return None
    place = find_architecture(name).build.module.rpartition(".")[0].replace(".", "/")
    return (
        f"'{name}' changed and its version is still {version}:\n  "
        + "\n  ".join(changed)
        + f"\nOlder files would no longer open. In {place}/upgrades.py raise VERSION to "
        f"{version + 1} and add UPGRADES[{version}], which leads from the old tensors to the new ones; "
        "then run `python tests/compat/store.py`. "
        f"Only where version {version} was never released: run that command alone, with --unreleased."
    )


def test_every_architecture_is_watched() -> None:
    assert sorted(networks.NAMES) == sorted(architecture.name for architecture in architectures())


@pytest.mark.parametrize("name", networks.NAMES)
def test_tensors_change_only_with_the_version(name: str) -> None:
    if name == "timm":
        pytest.importorskip("timm", reason="timm is not installed")
    problem = complaint(name, networks.today(name))
    if problem:
        pytest.fail(problem, pytrace=False)


@pytest.mark.parametrize("name", networks.NAMES)
def test_every_version_has_its_stored_structure(name: str) -> None:
    for version in range(1, find_architecture(name).version + 1):
        assert json.loads(networks.stored(name, version).read_text("utf-8")), version


@pytest.mark.parametrize("name", ["cairn", "mlp", "resnet18"])
def test_what_is_stored_is_everything_that_a_checkpoint_holds(name: str) -> None:
    network = networks.build(name)
    rows = json.loads(networks.stored(name, find_architecture(name).version).read_text("utf-8"))
    facts = [f"facts.{key}" for key in networks.facts(name)]
    assert list(rows) == [*network.state_dict(), *facts]
    kinds = [row["kind"] for row in rows.values()]
    assert kinds.count("parameter") == len(list(network.parameters())) > 0
    assert (kinds.count("buffer") > 0) == (name != "mlp")
    assert (kinds.count("fact") > 0) == (name != "cairn")


@pytest.mark.parametrize(
    ("name", "tensor"), [("mlp", "fc1.weight"), ("resnet18", "bn1.running_mean"), ("mlp", "facts.preprocessing")]
)
def test_a_drift_of_each_architecture_is_noticed(name: str, tensor: str) -> None:
    rows = networks.today(name)
    renamed = {key if key != tensor else f"{key}s": row for key, row in rows.items()}
    found = complaint(name, renamed)
    assert found is not None
    assert f"{tensor}: expected {_words(rows[tensor])}, found nothing" in found
    assert f"In milepost/images/{name}/upgrades.py raise VERSION to 2" in found


def test_an_architecture_whose_version_was_raised_asks_for_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "FOLDER", networks.FOLDER / "nowhere")
    assert complaint("mlp", {}) == "nothing is stored of 'mlp' version 1: run `python tests/compat/store.py`"


@pytest.mark.parametrize("change", ["renamed", "reshaped", "retyped", "added", "removed"])
def test_each_kind_of_drift_is_noticed(change: str) -> None:
    network = networks.build("cairn")
    embedding = network.embedding
    assert isinstance(embedding, nn.Parameter)
    if change in ("renamed", "removed"):
        del network.embedding
    expected = {
        "renamed": "embeddings: expected nothing, found parameter [3, 64] float32",
        "reshaped": "embedding: expected parameter [3, 64] float32, found parameter [3, 65] float32",
        "retyped": "embedding: expected parameter [3, 64] float32, found parameter [3, 64] float64",
        "added": "extra: expected nothing, found buffer [2] float32",
        "removed": "embedding: expected parameter [3, 64] float32, found nothing",
    }[change]
    if change == "renamed":
        network.embeddings = embedding
    elif change == "reshaped":
        network.embedding = nn.Parameter(torch.zeros(3, 65))
    elif change == "retyped":
        network.embedding = nn.Parameter(embedding.detach().double())
    elif change == "added":
        network.register_buffer("extra", torch.zeros(2))
    found = complaint("cairn", networks.structure(network))
    assert found is not None
    assert expected in found
    assert "In milepost/atoms/cairn/upgrades.py raise VERSION to 2" in found
    assert "then run `python tests/compat/store.py`" in found


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the stored checkpoint again, with the code of today."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_run, "FOLDER", tmp_path_factory.mktemp("fresh"))
        path = stored_run.store(1)
    return path


def state_complaint(found: dict[str, str]) -> str | None:
    """Say what to do where a checkpoint is made of other parts than the newest stored one."""
    number = max(stored_run.numbers(), default=0)
    known, today = stored_run.known(number)["versions"], stored_run.versions()
    if known != today:
        return f"no checkpoint of the versions {today} is stored, only of {known}: run `python tests/compat/store.py`"
    changed = stored_run.differences(stored_run.structure(stored_run.paths(number)[0]), found)
    if not changed:
        return None
    version = TRAINING_STATE_VERSION
    return (
        f"the training state changed and its version is still {version}:\n  "
        + "\n  ".join(changed)
        + "\nOlder files would no longer open. In milepost/checkpoint/upgrades.py raise TRAINING_STATE_VERSION to "
        f"{version + 1} and add UPGRADES[{version}], which leads from the old state to the new one; "
        "then run `python tests/compat/store.py`. "
        f"Only where version {version} was never released: run that command alone, with --unreleased."
    )


def container_complaint(path: Path) -> str | None:
    """Say what to do where today's writer makes other bytes of the stored archive's content."""
    expected, found = archives.stored(FORMAT_VERSION).read_bytes(), path.read_bytes()
    if expected == found:
        return None
    size = min(len(expected), len(found))
    at = next((i for i in range(size) if expected[i] != found[i]), size)
    return (
        f"the container changed at byte {at} and its version is still {FORMAT_VERSION}: expected "
        f"{expected[max(0, at - 20) : at + 20]!r}, found {found[max(0, at - 20) : at + 20]!r}.\n"
        "Equal content would no longer be equal bytes. Raise FORMAT_VERSION in milepost/archive/layout.py, keep "
        "reading the versions before, and write the change into docs/formats/archive.md; then run "
        "`python tests/compat/store.py`. "
        f"Only where version {FORMAT_VERSION} was never released: run that command alone, with --unreleased."
    )


def test_the_training_state_changes_only_with_a_version(fresh: Path) -> None:
    problem = state_complaint(stored_run.structure(fresh))
    if problem:
        pytest.fail(problem, pytrace=False)


def test_the_container_changes_only_with_its_version(tmp_path: Path) -> None:
    archives.write(tmp_path / "x")
    problem = container_complaint(tmp_path / "x")
    if problem:
        pytest.fail(problem, pytrace=False)


def test_every_version_of_the_container_has_its_stored_file() -> None:
    assert sorted(archives.FOLDER.iterdir()) == [archives.stored(v) for v in range(1, FORMAT_VERSION + 1)]


def test_every_version_of_the_training_state_has_its_stored_file() -> None:
    numbers = stored_run.numbers()
    assert numbers == list(range(1, len(numbers) + 1))
    states = {stored_run.known(number)["versions"]["training_state"] for number in numbers}
    assert states == set(range(1, TRAINING_STATE_VERSION + 1))


def test_stored_files_are_small() -> None:
    folders = (archives.FOLDER, stored_run.FOLDER, stored_tasks.FOLDER, memories.FOLDER, networks.FOLDER / "networks")
    files = [path for folder in folders for path in folder.iterdir()]
    assert len(files) >= 25
    assert {path.name: size for path in files if (size := path.stat().st_size) >= stored_run.LARGEST} == {}


def test_the_structure_reaches_every_part_of_the_training_state() -> None:
    lines = stored_run.structure(stored_run.paths(max(stored_run.numbers()))[0])
    for place, kind in {
        "manifest.versions.training_state": "int",
        "manifest.written_by": "str",
        "manifest.environment.milepost": "str",
        "best.value": "float",
        "ema.network.embedding": "float64 (2, 2)",
        "facts.references": "list",
        "model.scale": "float64 ()",
        "optimizer.state.network.embedding.exp_avg": "float64 (2, 2)",
        "optimizer.groups[].base_lr": "float",
        "position.sums.loss": "float",
        "random.numpy.key": "int32 (624,)",
        "schedule.reduction": "float",
        "split.frames.training[]": "int",
        "stopping.waited": "int",
        "metrics.length": "int",
    }.items():
        assert lines[place] == kind, place


@pytest.mark.parametrize(
    ("place", "kind", "expected"),
    [
        ("best.value", None, "best.value: expected float, found nothing"),
        ("best.since", "int", "best.since: expected nothing, found int"),
        ("position.step", "str", "position.step: expected int, found str"),
        ("random.torch", "uint8 (9,)", "random.torch: expected uint8 (5056,), found uint8 (9,)"),
        ("manifest.run_id", None, "manifest.run_id: expected str, found nothing"),
        ("entries", "mimetype", "found mimetype"),
    ],
)
def test_each_kind_of_drift_of_a_checkpoint_is_noticed(place: str, kind: str | None, expected: str) -> None:
    lines = stored_run.structure(stored_run.paths(max(stored_run.numbers()))[0])
    found = {name: kind_of for name, kind_of in lines.items() if name != place} | ({place: kind} if kind else {})
    problem = state_complaint(found)
    assert problem is not None
    assert expected in problem
    assert f"raise TRAINING_STATE_VERSION to {TRAINING_STATE_VERSION + 1}" in problem
    assert "then run `python tests/compat/store.py`" in problem
    assert state_complaint(lines) is None


def test_a_change_of_the_code_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Best.state_dict
    monkeypatch.setattr(Best, "state_dict", lambda self: saved(self) | {"since": 1})
    monkeypatch.setattr(stored_run, "FOLDER", tmp_path)
    found = stored_run.structure(stored_run.store(1))
    monkeypatch.undo()
    problem = state_complaint(found)
    assert problem is not None
    assert "\n  best.since: expected nothing, found int" in problem
    assert "\n  stopping.since: expected nothing, found int" in problem


def test_a_version_that_was_raised_asks_for_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    today = stored_run.versions() | {"training_state": TRAINING_STATE_VERSION + 1}
    monkeypatch.setattr(stored_run, "versions", lambda: today)
    problem = state_complaint({})
    assert problem is not None
    assert "run `python tests/compat/store.py`" in problem


def test_a_drift_of_the_container_is_noticed(tmp_path: Path) -> None:
    content = bytearray(archives.stored(FORMAT_VERSION).read_bytes())
    content[1000] ^= 1
    (tmp_path / "x").write_bytes(content)
    problem = container_complaint(tmp_path / "x")
    assert problem is not None
    assert "the container changed at byte 1000" in problem
    assert "Raise FORMAT_VERSION" in problem
    assert "`python tests/compat/store.py`" in problem


def test_the_command_of_the_messages_runs_and_leaves_what_is_there() -> None:
    before = {path: path.read_bytes() for path in store.FOLDER.rglob("*") if path.suffix in STORED}
    done = subprocess.run(
        [sys.executable, "tests/compat/store.py"],
        cwd=store.FOLDER.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "nothing to store: the versions of today have their files\n"), done
    assert {path: path.read_bytes() for path in before} == before
