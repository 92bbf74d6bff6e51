"""The tensors of an architecture change only together with its version, so that older files open."""

import json

import pytest
import torch
from torch import nn

from compat import store
from milepost.atoms.cairn import ARCHITECTURE

Rows = dict[str, dict[str, object]]


def differences(stored: Rows, found: Rows) -> list[str]:
    """Say what changed, one line for each tensor."""
    names = sorted(stored.keys() | found.keys())
    return [
        f"{name}: expected {_words(stored.get(name))}, found {_words(found.get(name))}"
        for name in names
        if stored.get(name) != found.get(name)
    ]


def _words(row: dict[str, object] | None) -> str:
    return "nothing" if row is None else f"{row['kind']} {row['shape']} {row['type']}"


def complaint(network: nn.Module) -> str | None:
    """Say what to do where the tensors differ from those that are stored for this version."""
    path = store.stored(ARCHITECTURE.version)
    changed = differences(json.loads(path.read_text("utf-8")), store.structure(network))
    if not changed:
        return None
    version = ARCHITECTURE.version
    return (
        f"tensors of '{ARCHITECTURE.name}' changed and its version is still {version}:\n  "
        + "\n  ".join(changed)
        + "\nOlder files would no longer open. In milepost/atoms/cairn/upgrades.py raise VERSION to "
        f"{version + 1} and add UPGRADES[{version}], which leads from the old tensors to the new ones; "
        "then run `python tests/compat/store.py`. "
        f"Only where version {version} was never released: run that command alone."
    )


def test_tensors_change_only_with_the_version() -> None:
    problem = complaint(store.build())
    if problem:
        pytest.fail(problem, pytrace=False)


def test_every_version_has_its_stored_structure() -> None:
    for version in range(1, ARCHITECTURE.version + 1):
        assert json.loads(store.stored(version).read_text("utf-8")), version


def test_what_is_stored_is_everything_that_a_checkpoint_holds() -> None:
    network = store.build()
    rows = json.loads(store.stored(ARCHITECTURE.version).read_text("utf-8"))
    assert list(rows) == list(network.state_dict())
    kinds = [row["kind"] for row in rows.values()]
    assert kinds.count("parameter") == len(list(network.parameters())) > 0
    assert kinds.count("buffer") > 0


@pytest.mark.parametrize("change", ["renamed", "reshaped", "retyped", "added", "removed"])
def test_each_kind_of_drift_is_noticed(change: str) -> None:
    network = store.build()
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
    found = complaint(network)
    assert found is not None
    assert expected in found
    assert "raise VERSION to" in found
    assert "then run `python tests/compat/store.py`" in found
