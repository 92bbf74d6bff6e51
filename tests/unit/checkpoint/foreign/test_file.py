"""A foreign file gives table, tensors and tree."""

import os
from pathlib import Path

import pytest
import torch

from attacks.assembly import mapping, program, tensor, torch_zip
from milepost.checkpoint.foreign import ForeignFile, open_foreign
from milepost.errors import ForeignFileError


def opened(path: Path) -> ForeignFile:
    found = open_foreign(path)
    assert found is not None
    return found


def test_names_are_places_and_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / "f"
    one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)
    torch.save({"a.b": one, "a": {"b": two, "b~2": three}, "l": [one, (two,)], 5: {6: three}}, path)
    found = opened(path)
    names = ["a.b", "a.b~2", "a.b~2~2", "l.0", "l.1.0", "5.6"]
    assert [row.name for row in found.tensor_table()] == names
    tensors = found.tensors()
    assert [len(tensors[name]) for name in names] == [1, 2, 3, 1, 2, 3]
    assert tensors["l.0"] is tensors["a.b"]


def test_the_tree_has_the_tensors_of_one_reading(tmp_path: Path) -> None:
    path = tmp_path / "f"
    weight = torch.ones(2)
    torch.save({"a": weight, "b": [weight], "step": 3}, path)
    tree = opened(path).tree()
    assert tree["b"][0] is tree["a"]
    assert tree["step"] == 3


def test_a_file_that_changed_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    torch.save({"a": torch.ones(2)}, path)
    found = opened(path)
    path.write_bytes(path.read_bytes() + b"x")
    for read in (found.tensors, found.tree):
        with pytest.raises(ForeignFileError, match=rf"could not read '{path}': 'f' changed after it was opened"):
            read()


def test_long_names_are_refused(tmp_path: Path) -> None:
    torch_zip(tmp_path / "f", program(mapping({"k" * 5000: tensor()})))
    with pytest.raises(ForeignFileError, match="the name of a tensor is too long: 'kkk"):
        open_foreign(tmp_path / "f")


def test_places_of_values_have_a_bound(tmp_path: Path) -> None:
    torch_zip(tmp_path / "f", program(mapping({"k" * 5000: b"]"})))
    with pytest.raises(ForeignFileError, match="the place of a value is too deep: 'kkk"):
        open_foreign(tmp_path / "f")


def test_expanded_tensors_may_be_somewhat_larger_than_the_file(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(1000, 1000)}, tmp_path / "f")
    assert opened(tmp_path / "f").tensors()["w"].shape == (1000, 1000)
    torch.save({"w": torch.ones(1).expand(5000, 5000)}, tmp_path / "g")
    with pytest.raises(ForeignFileError, match=r"its tensors would take 100000000 bytes, from a file of \d+"):
        open_foreign(tmp_path / "g")


def test_opening_reads_kilobytes_of_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({str(index): torch.zeros(2**20) for index in range(8)}, tmp_path / "f")
    read: list[int] = []
    true = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *args: read.append(true(*args)) or read[-1])
    found = opened(tmp_path / "f")
    assert len(found.tensor_table()) == 8
    assert 0 < sum(read) < 100_000
    found.tensors()
    assert sum(read) > 2**25


def test_nothing_stays_open(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "f")
    before = len(list(Path("/proc/self/fd").iterdir()))
    found = opened(tmp_path / "f")
    found.tensors()
    found.tree()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
