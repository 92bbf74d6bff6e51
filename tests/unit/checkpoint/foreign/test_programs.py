"""What torch.export and AOTInductor write into .pt2 files."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from milepost.checkpoint.converting import convert
from milepost.checkpoint.foreign import ForeignFile, open_foreign
from milepost.errors import ForeignFileError


class Sum(torch.nn.Module):
    """Hold a parameter, buffers of other types, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        self.register_buffer("shift", torch.arange(2.0, dtype=torch.float64))
        self.register_buffer("steps", torch.tensor(7))
        self.constant = torch.tensor([1.0, 2.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.shift.float() + self.constant * self.steps


def package(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write the entries that every .pt2 file has, and others."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in {
            "archive_format": b"pt2",
            "archive_version": b"0",
            "byteorder": b"little",
            **files,
        }.items():
            file.writestr(f"program/{name}", content)
    return path


def opened(path: Path) -> ForeignFile:
    found = open_foreign(path)
    assert found is not None
    return found


def row(**changes: Any) -> dict[str, Any]:
    meta = {
        "dtype": 7,
        "sizes": [{"as_int": 2}],
        "strides": [{"as_int": 1}],
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }
    meta |= {name: value for name, value in changes.items() if name in meta}
    whole = {"path_name": "weight_0", "use_pickle": False, "tensor_meta": meta}
    return whole | {name: value for name, value in changes.items() if name in whole}


def weights(path: Path, *, byteorder: bytes = b"little", data: bytes = bytes(8), **rows: Any) -> Path:
    config = json.dumps({"config": rows}).encode()
    entries = {"data/weights/weight_0": data, "data/weights/model_weights_config.json": config}
    return package(path, {"byteorder": byteorder, "models/model.json": b"{}", **entries})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sum]:
    module = Sum()
    path = tmp_path_factory.mktemp("exported") / "sum.pt2"
    program = torch.export.export(module, (torch.ones(4, 3),))
    torch.export.save(program, path, extra_files={"units.txt": "eV", "table": "\0" * 5000})
    return path, module


def test_an_exported_program_is_described(exported: tuple[Path, Sum]) -> None:
    found = opened(exported[0])
    assert found.kind == "torch.export program"
    assert found.suspicious == ()
    assert found.metadata == {
        "archive_version": "0",
        "models": ["sum"] if "sum" in found.metadata["models"] else ["model"],
        "extra_files": {"units.txt": "eV", "table": "5000 bytes"},
    }


def test_its_tensors_are_read(exported: tuple[Path, Sum]) -> None:
    path, module = exported
    tensors = opened(path).tensors()
    expected = {f"weights.{name}": value for name, value in module.state_dict().items()}
    assert tensors.keys() == {*expected, "constants.constant"}
    assert all(torch.equal(tensors[name], value) for name, value in expected.items())
    assert tensors["constants.constant"].tolist() == [1.0, 2.0]


def test_its_weights_are_converted(exported: tuple[Path, Sum], tmp_path: Path) -> None:
    done = convert(exported[0], tmp_path / "sum.pt")
    assert done.kind == "torch.export program"
    loaded = torch.load(tmp_path / "sum.pt", weights_only=True)
    assert torch.equal(loaded["layer.weight"], exported[1].layer.weight.detach())


def test_a_compiled_package_is_described(tmp_path: Path) -> None:
    folder = "data/aotinductor/model/"
    path = package(
        tmp_path / "m.pt2",
        {
            f"{folder}c1.wrapper.so": b"\x7fELF",
            f"{folder}c1.wrapper.cpp": b"int main;",
            f"{folder}c1.wrapper_metadata.json": b'{"AOTI_DEVICE_KEY": "cpu", "r_max": "5.0"}',
        },
    )
    found = opened(path)
    assert found.kind == "aotinductor package"
    assert found.tensor_table() == []
    assert found.metadata == {
        "archive_version": "0",
        "models": ["model"],
        "machine_code": ["c1.wrapper.so"],
        "compiled_for": {"AOTI_DEVICE_KEY": "cpu", "r_max": "5.0"},
    }


def test_numbers_of_the_other_byte_order_are_turned(tmp_path: Path) -> None:
    data = torch.tensor([1.5, -2.0]).numpy().byteswap().tobytes()
    found = opened(weights(tmp_path / "m.pt2", byteorder=b"big", data=data, w=row(), first=row(sizes=[{"as_int": 1}])))
    assert found.metadata["byte_order"] == "big"
    tensors = found.tensors()
    assert tensors["weights.w"].tolist() == [1.5, -2.0]
    assert tensors["weights.first"].tolist() == [1.5]


def test_what_torch_save_wrote_inside_is_read(tmp_path: Path) -> None:
    torch.save(torch.arange(3), tmp_path / "inner")
    data = (tmp_path / "inner").read_bytes()
    found = opened(weights(tmp_path / "m.pt2", data=data, w=row(use_pickle=True)))
    assert found.tensors()["weights.w"].tolist() == [0, 1, 2]
    assert "torch._utils._rebuild_tensor_v2" in found.globals


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"w": row(path_name="weight_9")}, "'w': expected an entry in 'data/weights/', found none"),
        ({"w": row(path_name="../../models/model.json")}, "expected an entry in 'data/weights/', found none"),
        ({"w": row(sizes=[{"as_int": 3}])}, "needs 12 bytes of its storage, which has 8"),
        ({"w": row(storage_offset={"as_int": -1})}, "expected no negative offset or stride"),
        ({"w": row(sizes=[{"as_expr": "s0"}])}, "expected whole numbers as shape, strides and offset"),
        ({"w": row(dtype=99)}, "expected a dense tensor of a known type"),
        ({"w": row(layout=1)}, "expected a dense tensor of a known type"),
        ({"w": row(), "v": row(dtype=3)}, "its entry is referred to with two types"),
        ({"w": 5}, "w: expected an object, found int"),
        ({"w": row(tensor_meta=[])}, "w: expected an object, found list"),
    ],
)
def test_what_is_wrong_is_named(rows: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError, match=reason.replace("(", r"\(")):
        open_foreign(weights(tmp_path / "m.pt2", **rows))


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"data/weights/model_weights_config.json": b"{"}, "is no JSON"),
        ({"data/weights/model_weights_config.json": b"[]"}, "expected an object, found list"),
        ({"data/weights/model_weights_config.json": b"{}"}, "expected an object, found NoneType"),
        ({"byteorder": b"middle"}, "expected the byte order 'little' or 'big', found b'middle'"),
        ({"byteorder": b"l" * 65}, "expected at most 64 bytes, found 65"),
    ],
)
def test_a_broken_entry_is_named(files: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError, match=reason):
        open_foreign(package(tmp_path / "m.pt2", files))


def test_entries_outside_the_folder_are_refused(tmp_path: Path) -> None:
    path = package(tmp_path / "m.pt2", {})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("other/x", b"")
    with pytest.raises(ForeignFileError, match="expected every zip entry in 'program/', found 'other/x'"):
        open_foreign(path)


def test_another_archive_format_is_no_kind(tmp_path: Path) -> None:
    assert open_foreign(package(tmp_path / "m.zip", {"archive_format": b"other"})) is None
