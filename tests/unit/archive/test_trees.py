"""What is written comes back: types, values, bits, ties, strides, names."""

import json
import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from milepost.archive import Archive, tensors, write_archive
from milepost.archive.tree import MAX_TREE_DEPTH, Encoder, decode
from milepost.errors import UnsavableError

DTYPES = [*tensors._STORED, *tensors._PAIRS, *tensors._BYTES]


def round_trip(path: Path, tree: Any) -> Any:
    write_archive(path, kind="test", components={"c": tree}, overwrite=True, durability="process")
    with Archive.open(path) as archive:
        assert archive.verify() == []
        return archive.tree("c")


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensors.data_of(tensor))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 2)], ids=str)
def test_every_dtype_and_shape_survives_with_every_bit(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]):
    generator = torch.Generator().manual_seed(0)
    size = math.prod(shape) * dtype.itemsize
    raw = torch.randint(0, 2 if dtype is torch.bool else 256, (size,), dtype=torch.uint8, generator=generator)
    tensor = raw.view(dtype).reshape(shape)
    loaded = round_trip(tmp_path / "x", {"t": tensor})["t"]
    assert (loaded.dtype, loaded.shape) == (dtype, tensor.shape)
    assert bits(loaded) == bits(tensor)


def test_the_dtype_tables_agree_and_cover_every_float_and_integer():
    tensors.check_tables()
    assert len(DTYPES) == len(set(DTYPES)) == 21


def test_nan_payload_and_negative_zero_survive(tmp_path: Path):
    values = torch.tensor([0x7FC12345, -0x80000000], dtype=torch.int32).view(torch.float32)
    assert bits(round_trip(tmp_path / "x", [values])[0]) == struct.pack("<Ii", 0x7FC12345, -0x80000000)


def test_strided_conjugated_and_expanded_views_are_stored_by_value(tmp_path: Path):
    base = torch.arange(12.0).reshape(3, 4)
    z = torch.complex(base, -base)
    square = torch.arange(4.0).reshape(2, 2)
    tree = {
        "t": base.t(),
        "square": square,
        "square_t": square.t(),
        "s": base[:, ::2],
        "e": torch.ones(1).expand(4),
        "c": z.conj(),
        "n": z.conj().imag,
    }
    loaded = round_trip(tmp_path / "x", tree)
    for name, tensor in tree.items():
        assert torch.equal(loaded[name], tensor), name
        assert loaded[name].is_contiguous()


def test_tied_tensors_are_stored_once_and_come_back_tied(tmp_path: Path):
    weight = torch.nn.Parameter(torch.randn(64, 64))
    tree = {
        "embed": weight,
        "head": {"w": weight.detach()},
        "copy": weight.detach().clone(),
        "row": weight[0],
    }
    loaded = round_trip(tmp_path / "x", tree)
    assert loaded["embed"] is loaded["head"]["w"]
    assert loaded["copy"].data_ptr() != loaded["embed"].data_ptr()
    assert not loaded["embed"].requires_grad
    with Archive.open(tmp_path / "x") as archive:
        assert [row.name for row in archive.tensor_table("c")] == ["copy", "embed", "row"]


def test_empty_tensors_are_not_taken_for_tied(tmp_path: Path):
    loaded = round_trip(tmp_path / "x", [torch.empty(0, 2), torch.empty(0, 2)])
    assert loaded[0] is not loaded[1]


def test_loaded_tensors_own_their_memory(tmp_path: Path):
    path = tmp_path / "x"
    loaded = round_trip(path, {"t": torch.zeros(5)})["t"]
    before = path.read_bytes()
    loaded += 1
    path.unlink()
    assert loaded.tolist() == [1.0] * 5
    path.write_bytes(before)
    with Archive.open(path) as archive:
        assert archive.tree("c")["t"].tolist() == [0.0] * 5


def test_tensors_go_to_the_device_asked_for(small: Path):
    with Archive.open(small) as archive:
        assert archive.tree("model", device="meta")["weight"].device.type == "meta"


def test_structure_keeps_types_order_and_odd_keys(tmp_path: Path):
    tree = {
        "z": (1, [2, (3,)], ()),
        "a": {1: "one", "1": "text", -5: None, 2**63 - 1: "largest", -(2**63): "smallest"},
        "$x": {"$tensor": "not one"},
        "": {"b.c": torch.tensor(1), "b": {"c": torch.tensor(2)}},
        "__metadata__": torch.tensor(3),
        "float": [math.inf, -math.inf, -0.0, 5e-324, 1.0],
        "big": -(2**1000),
        "é\u2028": True,
    }
    loaded = round_trip(tmp_path / "x", tree)
    assert list(loaded) == list(tree)
    assert repr(loaded) == repr(tree)
    assert type(loaded["float"][4]) is float


def test_a_bare_tensor_and_a_bare_nan_are_trees(tmp_path: Path):
    assert round_trip(tmp_path / "x", torch.tensor(4)).item() == 4
    assert math.isnan(round_trip(tmp_path / "x", math.nan))


leaves = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])) | st.floats()
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers(-(2**63), 2**63 - 1) | st.text("$.ab", max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
def test_any_tree_survives_json(tree: Any):
    encoded = json.loads(json.dumps(Encoder("c").encode(tree), allow_nan=False))
    assert repr(decode(encoded, lambda name, note: None)) == repr(tree)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1, 2}, "found builtins.set"),
        (b"x", "found builtins.bytes"),
        (torch.Size([1]), "found torch.Size"),
        ({(1, 2): 0}, r"expected keys of type str or int, found \(1, 2\)"),
        ({True: 0}, "expected keys of type str or int, found True"),
        ({2**63: 0}, "expected integer keys of at most 64 bits, found 0x8000000000000000"),
        ({-(2**63) - 1: 0}, "expected integer keys of at most 64 bits, found -0x8000000000000001"),
        ("\ud800", "expected valid Unicode"),
        (2**1024, "at most 1024 bits"),
        (torch.empty(2, device="meta"), "found one on the meta device"),
        (torch.eye(2).to_sparse(), "expected a dense tensor, found layout torch.sparse_coo"),
        (torch.nn.UninitializedParameter(), "expected a plain tensor, found UninitializedParameter"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_place_is_refused_by_its_path(tmp_path: Path, value: Any, reason: str):
    with pytest.raises(UnsavableError, match=rf"could not save 'c\.deep\.0': .*{reason}"):
        write_archive(tmp_path / "x", kind="test", components={"c": {"deep": [value]}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_a_tree_as_deep_as_allowed_survives_and_one_deeper_is_refused(tmp_path: Path, kind: str):
    def nested(depth: int) -> Any:
        tree: Any = 0
        for _ in range(depth):
            tree = [tree] if kind == "list" else (tree,) if kind == "tuple" else {1: tree}
        return tree

    assert round_trip(tmp_path / "x", nested(MAX_TREE_DEPTH)) == nested(MAX_TREE_DEPTH)
    with pytest.raises(UnsavableError, match=f"at most {MAX_TREE_DEPTH} levels of nesting"):
        round_trip(tmp_path / "x", nested(MAX_TREE_DEPTH + 1))


def test_safetensors_loads_the_unzipped_tensors_by_parameter_name(tmp_path: Path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).to(torch.bfloat16)
    write_archive(tmp_path / "x", kind="test", components={"model": model.state_dict()})
    with zipfile.ZipFile(tmp_path / "x") as unzipped:
        loaded = safetensors.torch.load(unzipped.read("model.safetensors"))
    assert set(loaded) == set(model.state_dict())
    assert all(torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items())


def test_many_tensors(tmp_path: Path):
    tree = {f"t{i:05d}": torch.tensor(i, dtype=torch.int16) for i in range(3000)}
    loaded = round_trip(tmp_path / "x", tree)
    assert all(loaded[name].item() == i for i, name in enumerate(tree))
