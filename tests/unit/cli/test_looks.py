"""A file of another program is named by its content."""

import io
import zipfile

import pytest
import safetensors.torch
import torch

from milepost.cli.looks import HEAD, appearance


def zipped(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return data.getvalue()


def saved_by_torch() -> bytes:
    data = io.BytesIO()
    torch.save({"x": torch.zeros(1)}, data)
    return data.getvalue()


FILES = {
    "an empty file": b"",
    "a zip file of another program": zipped("a.txt"),
    "a damaged zip file": zipped("a.txt")[:30],
    "a TorchScript program that Milepost did not export": zipped("m/code/__torch__.py", "m/data.pkl"),
    "a .pt2 program that Milepost did not export": zipped("m/archive_format", "m/data/aotinductor/model/x.so"),
    "a pickle written by torch.save": saved_by_torch(),
    "a pickle": b"\x80\x04\x95" + bytes(20),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(20),
    "a safetensors file": safetensors.torch.save({"x": torch.zeros(2)}),
    "an options file, which `milepost options expand` prints": b"seed: 1\narchitecture:\n  name: cairn\n",
    "a file of structures in XYZ format": b"9\nProperties=species:S:1:pos:R:3\nC 0 0 0\n",
    "a text file": "Å and more text\n".encode() * (HEAD // 8),
    "a binary file of another program": bytes(range(256)),
}


@pytest.mark.parametrize("expected", FILES)
def test_appearance(tmp_path, expected) -> None:
    path = tmp_path / "misleading.ckpt"
    path.write_bytes(FILES[expected])
    assert appearance(path) == expected


def test_zeros_are_no_text(tmp_path) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(bytes(100))
    assert appearance(path) == "a binary file of another program"
