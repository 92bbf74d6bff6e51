"""Files of `torch.save` are read as `torch.load` reads them."""

import zipfile
from pathlib import Path

import pytest
import torch

from attacks.assembly import program, storage, tensor, torch_zip
from milepost.checkpoint.foreign import open_foreign
from milepost.errors import ForeignFileError
from unit.checkpoint.foreign.comparing import assert_same, bits
from unit.checkpoint.foreign.objects import simple, views

NAMES = sorted(simple(old=False))


@pytest.mark.parametrize("name", NAMES)
def test_what_torch_saves_comes_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save(simple(old=False)[name], path)
    found = open_foreign(path)
    assert found is not None
    assert found.suspicious == ()
    assert_same(found.tree(), torch.load(path, weights_only=False))


def test_tensors_that_share_memory_share_it_again(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save(views(), path)
    found = open_foreign(path)
    assert found is not None
    tensors = found.tensors()
    assert tensors["same"] is tensors["base"]
    assert tensors["turned"].stride() == (1, 6)
    assert tensors["expanded"].stride() == (0,)
    tensors["base"][4] = 100.0
    assert tensors["slice"][0] == 100.0


def test_the_table_is_read_without_the_storages(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save({"w": torch.arange(4096.0), "n": {"c": torch.ones(2, dtype=torch.complex64)}}, path)
    data = bytearray(path.read_bytes())
    place = data.find(torch.arange(4096.0).numpy().tobytes())
    data[place : place + 4] = b"\xff" * 4
    path.write_bytes(data)
    found = open_foreign(path)
    assert found is not None
    rows = [(row.name, row.dtype, row.shape, row.bytes, row.digest) for row in found.tensor_table()]
    assert rows == [("w", "F32", (4096,), 16384, ""), ("n.c", "C64", (2,), 16, "")]
    with pytest.raises(ForeignFileError, match=r"a storage is damaged: expected CRC-32 \w{8}, found \w{8}"):
        found.tensors()


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(5)}, path)
    finally:
        torch.serialization.set_crc32_options(before)
    found = open_foreign(path)
    assert found is not None
    assert found.tensors()["w"].tolist() == [0, 1, 2, 3, 4]


def swapped(path: Path) -> None:
    """Rewrite a file of torch.save as a machine writes it that puts the most significant byte first."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            width = {"0": 4, "1": 8, "2": 4, "3": 2, "4": 1}.get(name.partition("/data/")[2], 1)
            words = [data[begin : begin + width][::-1] for begin in range(0, len(data), width)]
            file.writestr(name, b"big" if name.endswith("/byteorder") else b"".join(words))


def test_a_big_endian_file_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    values = [
        torch.arange(6.0).reshape(2, 3),
        torch.tensor([1 - 2j, 3 + 4j], dtype=torch.complex128),
        torch.tensor([2**20, -5], dtype=torch.int32),
        torch.tensor([1.5, -0.25], dtype=torch.bfloat16),
        torch.tensor([True, False]),
    ]
    torch.save(values, path)
    swapped(path)
    found = open_foreign(path)
    assert found is not None
    assert_same(found.tree(), values)
    assert_same(found.tree(), torch.load(path, weights_only=True))
    torch.save({"w": values[0]}, path)
    swapped(path)
    named = open_foreign(path)
    assert named is not None
    assert named.metadata == {"byte_order": "big"}


def test_big_endian_numbers_of_an_unknown_type_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save({"w": torch.arange(4).to(torch.uint16)}, path)  # saved in a storage of bytes
    swapped(path)
    found = open_foreign(path)
    assert found is not None
    assert [row.shape for row in found.tensor_table()] == [(4,)]
    with pytest.raises(ForeignFileError, match="expected the storage to say of which type its numbers are"):
        found.tensors()


def test_another_byte_order_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", program(b"N"))
        file.writestr("a/byteorder", "middle")
    with pytest.raises(ForeignFileError, match="expected the byte order 'little' or 'big', found b'middle'"):
        open_foreign(path)


def test_a_storage_may_have_bytes_left_over(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save(torch.arange(7, dtype=torch.uint8)[:4].view(torch.float32), path)
    found = open_foreign(path)
    assert found is not None
    assert bits(found.tensors()["tensor"]) == bytes([0, 1, 2, 3])


def test_a_storage_alone_is_a_tensor_of_its_elements(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch_zip(path, program(storage()), {"0": torch.arange(4.0).numpy().tobytes()})
    found = open_foreign(path)
    assert found is not None
    assert found.tree().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_other_zip_files_are_no_kind(tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")
        file.writestr("deep/inside/data.pkl", program(b"N"))
    assert open_foreign(path) is None


def test_a_torchscript_archive_is_described(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), path)
    found = open_foreign(path)
    assert found is not None
    assert found.kind == "torchscript archive"
    (name,) = found.suspicious  # torch puts a number into it where the class was scripted before in this process
    assert name.startswith("__torch__.torch.nn.modules.linear.")
    assert name.endswith(".Linear")
    assert [row.shape for row in found.tensor_table() if "weight" in row.name] == [(3, 2)]


def test_one_storage_has_one_dtype(tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch_zip(path, program(b"]" + tensor() + b"a" + tensor() + b"a"))
    found = open_foreign(path)
    assert found is not None
    assert len(found.tensors()) == 2
