"""Arrays and scalars of numpy are tensors and numbers."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.assembly import array, program, text, torch_zip
from milepost.checkpoint.foreign import ForeignFile, open_foreign
from milepost.errors import ForeignFileError
from unit.checkpoint.foreign.comparing import assert_same


def opened(path: Path) -> ForeignFile:
    found = open_foreign(path)
    assert found is not None
    return found


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_numpy_are_tensors(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    value = {
        "rows": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 2), dtype=np.float32),
        "none": np.array(3, dtype=np.uint8),
    }
    path.write_bytes(pickle.dumps(value, protocol))
    found = opened(path)
    assert found.suspicious == ()
    assert_same(found.tree(), {name: torch.tensor(array) for name, array in value.items()})


def test_scalars_of_numpy_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps([np.float32(0.5), np.int64(-3), np.bool_(True), np.float16(2)], 4))
    assert_same(opened(path).tree(), [0.5, -3, True, 2.0])


def test_arrays_of_texts_are_described(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps([np.array(["a"]), np.array([{}], dtype=object), np.array([1.0], dtype=">f8")], 4))
    found = opened(path)
    assert [item["class"] for item in found.tree()] == ["numpy._core.multiarray._reconstruct"] * 3
    assert found.tensor_table() == []


def test_a_large_array_is_not_taken_for_a_repeated_one(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(pickle.dumps([np.zeros(2**24, dtype=np.uint8), "x" * 2**24, b"x" * 2**24], 4))
    assert opened(tmp_path / "f").tree()[0].shape == (2**24,)


def test_bytes_of_python_2_are_data(tmp_path: Path) -> None:
    torch_zip(tmp_path / "f", program(array("u1", (3,), text("abc"))))
    assert opened(tmp_path / "f").tree().tolist() == [97, 98, 99]


def test_a_boolean_is_0_or_1(tmp_path: Path) -> None:
    torch_zip(tmp_path / "f", program(array("b1", (1, 2), text("\x01\x02"))))
    with pytest.raises(ForeignFileError, match="expected only 0 and 1 in a boolean array, found other bytes"):
        opened(tmp_path / "f").tensors()


def test_a_scalar_has_the_bytes_of_its_dtype(tmp_path: Path) -> None:
    data = pickle.dumps(np.float64(1.0), 4).replace(b"f8", b"f4")
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(ForeignFileError, match="a scalar of dtype float32: expected 4 bytes, found 8"):
        open_foreign(tmp_path / "f")


def test_an_array_with_another_state_is_described(tmp_path: Path) -> None:
    torch_zip(tmp_path / "f", program(array("u1", (3,), text("abc"))[:-1] + b"0"))
    found = opened(tmp_path / "f")
    assert found.tree()["class"] == "numpy._core.multiarray._reconstruct"
    assert found.suspicious == ()
