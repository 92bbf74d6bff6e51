"""Tensors that are read several at a time are those that were written, and damage is named."""

import threading
from pathlib import Path

import pytest
import torch

from milepost.archive import Archive, fetching, write_archive
from milepost.errors import DamagedArchiveError

TREE = {f"t{i}": torch.full((100 + i,), i) for i in range(20)} | {"z": torch.ones(3, dtype=torch.complex64)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_archive(tmp_path / "x", kind="k", components={"c": TREE})
    return tmp_path / "x"


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Read with four threads whatever the machine; collect the names of those that did."""
    monkeypatch.setattr(fetching, "_THREADS_PAY_FROM", 0)
    monkeypatch.setattr(fetching.torch, "get_num_threads", lambda: 4)
    names: set[str] = set()
    load = fetching.from_stored

    def noted(*arguments: object) -> torch.Tensor:
        names.add(threading.current_thread().name)
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fetching, "from_stored", noted)
    return names


def test_every_tensor_is_its_own(path: Path, threads: set[str]):
    with Archive.open(path) as archive:
        tree = archive.tree("c")
    assert list(tree) == list(TREE)
    assert all(torch.equal(tree[name], TREE[name]) for name in TREE)
    assert all(name.startswith("milepost-reader") for name in threads)


def test_damage_in_any_tensor_is_named(path: Path, threads: set[str]):
    content = bytearray(path.read_bytes())
    content[content.index(bytes([17, 0, 0, 0, 0, 0, 0, 0] * 2))] ^= 1
    path.write_bytes(content)
    with Archive.open(path) as archive, pytest.raises(DamagedArchiveError, match="tensor 't17'"):
        archive.tree("c")
    assert threads


def test_little_is_read_without_a_thread(path: Path, threads: set[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetching, "_THREADS_PAY_FROM", 2**30)
    with Archive.open(path) as archive:
        assert torch.equal(archive.tree("c")["t3"], TREE["t3"])
    assert threads == {threading.current_thread().name}
