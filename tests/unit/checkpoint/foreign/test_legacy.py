"""Files of before PyTorch 1.6, and lone pickles."""

import argparse
import pickle
from pathlib import Path

import pytest
import torch

from milepost.checkpoint.foreign import ForeignFile, open_foreign
from unit.checkpoint.foreign.comparing import assert_same
from unit.checkpoint.foreign.objects import simple

NAMES = sorted(simple(old=True))


def opened(path: Path) -> ForeignFile:
    found = open_foreign(path)
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
def test_what_torch_saved_formerly_comes_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save(simple(old=True)[name], path, _use_new_zipfile_serialization=False)
    found = opened(path)
    assert found.suspicious == ()
    assert_same(found.tree(), torch.load(path, weights_only=False))


@pytest.mark.parametrize(
    ("little", "metadata"), [(pickle.NEWTRUE, {}), (pickle.NEWFALSE, {"byte_order": "big"})], ids=["little", "big"]
)
def test_numbers_are_little_endian_from_every_machine(little: bytes, metadata: object, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save({"w": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    mark = b"little_endian" + pickle.BINPUT + b"\x02"
    assert data.count(mark + pickle.NEWTRUE) == 1
    path.write_bytes(data.replace(mark + pickle.NEWTRUE, mark + little))
    found = opened(path)
    assert found.metadata == metadata
    assert found.tensors()["w"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_of_any_protocol_is_read(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    value = {"a": [1, 2.5, None, True, "ü\n'"], "b": (1, (2, ())), "long": -(2**80), 7: {}}
    path.write_bytes(pickle.dumps(value, protocol))
    found = opened(path)
    assert found.kind == "pickle file"
    assert found.globals == ()
    if protocol:  # protocol 0 writes quotes escaped
        assert_same(found.tree(), value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_is_no_tree_is_described(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    value = {
        "bytes": b"\x00\xff",
        "array": bytearray(b"ab"),
        "set": {1},
        "frozen": frozenset([2]),
        "complex": 1 - 2j,
        "path": Path("/a/b"),
        "args": argparse.Namespace(lr=0.1, name="x"),
    }
    path.write_bytes(pickle.dumps(value, protocol))
    found = opened(path)
    assert found.suspicious == ()
    assert found.tree() == {
        "bytes": {"class": "builtins.bytes", "state": "00ff"},
        "array": {"class": "builtins.bytes", "state": "6162"},
        "set": {"class": "builtins.set", "state": [1]},
        "frozen": {"class": "builtins.frozenset", "state": [2]},
        "complex": {"class": "builtins.complex", "state": [1.0, -2.0]},
        "path": "/a/b",
        "args": {"lr": 0.1, "name": "x"},
    }


@pytest.mark.parametrize("text", ["N.", "I1\n."])
def test_a_short_text_can_be_a_pickle(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    assert opened(path).kind == "pickle file"


@pytest.mark.parametrize("text", ["", "Name,Value\n", "{}", "(a, b)", "import os\n", "no pickle"])
def test_other_texts_are_no_kind(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    assert open_foreign(path) is None
