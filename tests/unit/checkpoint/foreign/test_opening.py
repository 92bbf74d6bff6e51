"""The content of a file decides what it is."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from milepost.archive import write_archive
from milepost.checkpoint.foreign import open_foreign
from milepost.errors import ForeignFileError


def test_names_decide_nothing(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "a.safetensors")
    save_file({"w": torch.ones(1)}, tmp_path / "b.pt")
    kinds = [open_foreign(tmp_path / name) for name in ("a.safetensors", "b.pt")]
    assert [found.kind for found in kinds if found] == ["torch state dict", "safetensors file"]


def test_our_own_archives_are_not_foreign(tmp_path: Path) -> None:
    write_archive(tmp_path / "x.ckpt", kind="checkpoint", components={"model": {"w": torch.ones(1)}})
    assert open_foreign(tmp_path / "x.ckpt") is None


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"\x7fELF" + bytes(60), b"some text", bytes(600), b"\xff" * 20]
)
def test_other_files_are_no_kind(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(data)
    assert open_foreign(tmp_path / "f") is None


def test_another_tar_file_is_no_kind(tmp_path: Path) -> None:
    block = bytearray(1024)
    block[257:262] = b"ustar"
    (tmp_path / "f").write_bytes(block)
    assert open_foreign(tmp_path / "f") is None


def test_a_missing_file_is_the_system_s_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_foreign(tmp_path / "f")


def test_the_error_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\x80\x02")
    with pytest.raises(ForeignFileError) as caught:
        open_foreign(str(tmp_path / "f"))
    assert str(caught.value) == (
        f"could not read '{tmp_path / 'f'}': the pickle does not end by byte 2: the file is truncated "
        "(byte 0 of the pickle). Do not use this file; get it again from a source that you trust."
    )
