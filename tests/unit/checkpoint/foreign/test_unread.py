"""Everything in a file that becomes no tensor is named; what is read, taken or empty is not."""

import pickle
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from milepost.checkpoint.foreign import open_foreign

SAVE = "save it as a tensor"


def found(path: Path, tree: Any, taken: tuple[str, ...] = ()) -> list[str]:
    torch.save(tree, path / "a.pt")
    opened = open_foreign(path / "a.pt")
    assert opened is not None
    return [str(each) for each in opened.unread(taken)]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
            "'a.x', a quantized tensor: dequantize it before it is saved",
        ),
        (lambda: torch.eye(3).to_sparse(), "'a.x', a sparse tensor: make it dense before it is saved"),
        (lambda: torch.eye(3).to_sparse_csr(), "'a.x', a sparse tensor: make it dense before it is saved"),
        (
            lambda: torch.nn.Parameter(torch.ones(2, device="meta")),
            "'a.x', a tensor on the meta device, which holds no numbers: load the weights before it is saved",
        ),
        (lambda: np.ones(2, ">f4"), f"'a.x', an array of numpy in a type or byte order that is not read: {SAVE}"),
        (lambda: np.array(["a", "b"]), f"'a.x', an array of numpy in a type or byte order that is not read: {SAVE}"),
        (lambda: np.datetime64("2026"), f"'a.x', an array of numpy in a type or byte order that is not read: {SAVE}"),
        (lambda: {1, 2}, "'a.x', a set"),
        (lambda: frozenset({1}), "'a.x', a set"),
        (lambda: b"xx", "'a.x', bytes"),
        (lambda: bytearray(b"xx"), "'a.x', bytes"),
        (lambda: 1j, "'a.x', a complex number"),
        (lambda: "text", "'a.x', a text"),
        (lambda: True, "'a.x', a truth value"),
        (lambda: 1.5, "'a.x', a number"),
        (lambda: [1, {"b": (2, None)}], "'a.x', a list"),
        (lambda: OrderedDict(n=1), "'a.x', a dict"),
        (lambda: types.SimpleNamespace(n=1), "'a.x', an object of types.SimpleNamespace"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*(sparse|quantiz|Sparse|TypedStorage).*")
def test_each_kind_is_named(tmp_path: Path, make: Any, expected: str) -> None:
    assert found(tmp_path, {"a": {"x": make(), "w": torch.ones(2)}}) == [expected]


@pytest.mark.parametrize("value", [None, {}, [], (), torch.ones(2), np.ones(2), [torch.ones(1), {"a": torch.ones(1)}]])
def test_what_is_read_or_empty_is_not_named(tmp_path: Path, value: Any) -> None:
    assert found(tmp_path, {"a": value, "w": torch.ones(1)}) == []


def test_a_place_without_tensors_is_named_as_a_whole_and_one_with_them_by_its_parts(tmp_path: Path) -> None:
    tree = {
        "model": {"w": torch.ones(2), "extra": {"a": 1, "b": [2]}},
        "options": {"lr": 0.1, "names": ["x"], "nothing": None},
        "step": 3,
    }
    assert found(tmp_path, tree) == ["'model.extra', a dict", "'options', a dict", "'step', a number"]
    assert found(tmp_path, tree, ("step", "options.lr")) == ["'model.extra', a dict", "'options.names', a list"]


def test_an_object_with_tensors_is_named_by_what_else_it_holds(tmp_path: Path) -> None:
    held, empty = types.SimpleNamespace(n=1, w=torch.ones(1)), types.SimpleNamespace()
    assert found(tmp_path, {"a": held, "b": empty}) == [
        "'a.state.n', a number",
        "'b', an object of types.SimpleNamespace",
    ]


def test_a_tensor_that_plain_pickle_wrote_is_special(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"w": torch.ones(2)}))
    opened = open_foreign(tmp_path / "a.pt")
    assert opened is not None
    (only,) = opened.unread()
    assert (only.place, only.special) == ("w", True)
    assert str(only) == "'w', a tensor in a form that is not read: save it as a plain tensor, with torch.save"


def test_names_that_are_not_their_own_are_listed(tmp_path: Path) -> None:
    for tree, unnamed in (
        ({"": torch.ones(1), "a.b": torch.ones(1), "a": {"b": torch.ones(1)}}, ("tensor", "a.b~2")),
        ({"a": torch.ones(1), "tensor": torch.ones(1)}, ()),
        (torch.ones(1), ()),
    ):
        torch.save(tree, tmp_path / "a.pt")
        opened = open_foreign(tmp_path / "a.pt")
        assert opened is not None
        assert opened.unnamed == unnamed
