"""Files of the safetensors library."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from milepost.checkpoint.foreign import open_foreign
from milepost.checkpoint.foreign.safetensorsfile import dense_strides
from milepost.errors import ForeignFileError
from unit.checkpoint.foreign.comparing import assert_same


def test_a_file_of_the_library_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    tensors = {
        "a.weight": torch.arange(6.0).reshape(2, 3),
        "b": torch.ones(3, dtype=torch.bfloat16),
        "none": torch.tensor(2),
        "empty": torch.empty(0, 4),
        "flags": torch.tensor([True, False]),
    }
    save_file(tensors, path, metadata={"made by": "a test"})
    found = open_foreign(path)
    assert found is not None
    assert found.kind == "safetensors file"
    assert found.metadata == {"made by": "a test"}
    assert found.globals == found.suspicious == ()
    assert {row.name: (row.dtype, row.shape) for row in found.tensor_table()} == {
        "a.weight": ("F32", (2, 3)),
        "b": ("BF16", (3,)),
        "none": ("I64", ()),
        "empty": ("F32", (0, 4)),
        "flags": ("BOOL", (2,)),
    }
    loaded = found.tensors()
    assert_same({name: loaded[name] for name in tensors}, tensors)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    save_file({"a": torch.ones(8)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ForeignFileError, match="the tensors cover 32 bytes of 31"):
        open_foreign(path)


def test_metadata_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    header = b'{"__metadata__":{"a":1}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ForeignFileError, match="expected texts as metadata of a safetensors file"):
        open_foreign(path)


def test_strides_are_those_of_torch() -> None:
    for shape in [(), (3,), (2, 3, 4), (2, 0, 4)]:
        assert dense_strides(shape) == torch.empty(shape).stride()
