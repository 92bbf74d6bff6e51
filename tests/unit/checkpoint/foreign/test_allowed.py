"""What is on the list means what PyTorch means by it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from attacks.assembly import call, group, mapping, name, number, program, storage, tensor, text, torch_zip
from milepost.checkpoint.foreign import ForeignFile, open_foreign
from milepost.checkpoint.foreign.allowed import HARMLESS, MEANINGS
from milepost.errors import ForeignFileError

NEVER = ("builtins.eval", "builtins.exec", "builtins.getattr", "builtins.__import__", "posix.system", "torch.load",
         "torch.storage._load_from_bytes", "operator.attrgetter", "functools.partial")  # fmt: skip


def opened(path: Path) -> ForeignFile:
    found = open_foreign(path)
    assert found is not None
    return found


def saved(path: Path, value: Any) -> ForeignFile:
    torch.save(value, path)
    return opened(path)


def test_nothing_that_runs_is_harmless() -> None:
    assert set(MEANINGS) <= HARMLESS
    assert HARMLESS.isdisjoint(NEVER)


def test_devices_sizes_dtypes_and_layouts(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", [torch.device("cpu"), torch.device("cuda", 1), torch.Size([2, 3]), torch.float64])
    assert found.tree() == ["cpu", "cuda:1", (2, 3), "torch.float64"]
    assert found.suspicious == ()
    assert saved(tmp_path / "g", [torch.strided]).tree() == ["torch.strided"]


def test_a_tensor_with_attributes_is_the_tensor(tmp_path: Path) -> None:
    value = torch.arange(3)
    value.note = "x"
    parameter = nn.Parameter(torch.ones(2))
    parameter.note = "y"
    tree = saved(tmp_path / "f", [value, parameter]).tree()
    assert [item.tolist() for item in tree] == [[0, 1, 2], [1.0, 1.0]]


class Special(torch.Tensor):
    """A subclass of tensors."""


def test_a_subclass_of_tensors_is_a_tensor_and_suspicious(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", {"w": torch.arange(3).as_subclass(Special)})
    assert found.tensors()["w"].tolist() == [0, 1, 2]
    assert found.suspicious == (f"{Special.__module__}.Special",)


def test_sparse_and_meta_tensors_are_described(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", {"s": torch.eye(2).to_sparse(), "m": torch.empty(2, device="meta")})
    assert found.suspicious == ()
    tree = found.tree()
    assert tree["s"]["class"] == "torch._utils._rebuild_sparse_tensor"
    assert tree["m"]["class"] == "torch._utils._rebuild_meta_tensor_no_storage"
    assert [row.shape for row in found.tensor_table()] == [(2, 2), (2,)]


def test_a_whole_module_is_described(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", nn.Linear(2, 3))
    assert found.kind == "torch file"
    assert "torch.nn.modules.linear.Linear" in found.suspicious
    assert found.tree()["class"] == "torch.nn.modules.linear.Linear"
    assert found.tensors()["state._parameters.weight"].shape == (3, 2)


def test_arrays_of_numpy_beside_tensors(tmp_path: Path) -> None:
    found = saved(tmp_path / "f", {"a": np.arange(3), "scalar": np.float64(2.5)})
    assert found.suspicious == ()
    assert found.tree()["scalar"] == 2.5
    assert found.tensors()["a"].tolist() == [0, 1, 2]


REBUILD = name("torch._utils", "_rebuild_tensor_v2")
V3 = name("torch._utils", "_rebuild_tensor_v3")
ONE = group(number(1))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (call(REBUILD, storage()), "expected 4 or more arguments, found 1"),
        (call(REBUILD, b"N", number(0), ONE, ONE), "expected a storage, found something else"),
        (call(REBUILD, storage(), b"N", ONE, ONE), "expected an integer as offset, found something else"),
        (call(REBUILD, storage(), number(0), b"N", ONE), "expected at most 64 integers as sizes or strides"),
        (call(REBUILD, storage(), number(0), group(b"\x88"), ONE), "expected at most 64 integers as sizes or strides"),
        (call(REBUILD, storage(), number(0), group(*[number(1)] * 65), ONE), "expected at most 64 integers"),
        (call(V3, storage(), number(0), ONE, ONE, b"\x89", b"N", name("torch", "bits8")), "found torch.bits8"),
        (call(V3, storage(), number(0), ONE, ONE, b"\x89", b"N", b"N"), "found NoneType"),
        (call(name("torch", "Size"), text("x")), "expected at most 64 integers as sizes or strides"),
        (call(name("builtins", "complex"), number(1)), "expected 2 or more arguments, found 1"),
    ],
)
def test_known_classes_take_what_they_take(value: bytes, reason: str, tmp_path: Path) -> None:
    torch_zip(tmp_path / "f", program(mapping({"w": value})))
    with pytest.raises(ForeignFileError, match=rf"at 'w': .*{reason}"):
        open_foreign(tmp_path / "f")


def test_tensors_of_a_lone_pickle_are_described(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(pickle.dumps({"w": torch.ones(2), "p": nn.Parameter(torch.ones(2))}, 4))
    found = opened(tmp_path / "f")
    assert found.kind == "pickle file"
    assert found.suspicious == ("torch.storage._load_from_bytes",)
    assert found.tree()["w"]["class"] == "torch._utils._rebuild_tensor_v2"
    assert found.tensor_table() == []


def test_messages_show_no_control_characters(tmp_path: Path) -> None:
    torch_zip(tmp_path / "f", program(mapping({"\x1b[2J": call(name("torch", "Size"), b"N")})))
    with pytest.raises(ForeignFileError, match=r"at '\\x1b\[2J': expected"):
        open_foreign(tmp_path / "f")


def test_a_mapping_made_from_lists(tmp_path: Path) -> None:
    made = call(name("collections", "OrderedDict"), b"](](" + text("a") + number(1) + b"e](" + text("b") + b"Nee")
    torch_zip(tmp_path / "f", program(made))
    assert opened(tmp_path / "f").tree() == {"a": 1, "b": None}


def test_an_unknown_way_to_build_a_tensor_is_described(tmp_path: Path) -> None:
    typed = name("torch._tensor", "_rebuild_from_type_v2")
    inner = group(name("some", "function"), name("some", "Type"), group(tensor()), b"N")
    torch_zip(tmp_path / "f", program(typed + inner + b"R"))
    found = opened(tmp_path / "f")
    assert found.suspicious == ("some.function", "some.Type")
    assert found.tree()["class"] == "torch._tensor._rebuild_from_type_v2"
    assert len(found.tensors()) == 1
