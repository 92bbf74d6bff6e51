"""Say what a file of another program seems to be, from its first bytes or its names; nothing in it is run."""

import zipfile
from pathlib import Path

HEAD = 4096
_SIGNATURES = (
    (b"\x89HDF", "an HDF5 file"),
    (b"\x7fELF", "a program or a library"),
    (b"\x1f\x8b", "a gzip file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
)


def appearance(path: Path) -> str:
    """Describe a file in a few words. Raises OSError where it can't be read."""
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    if not head:
        return "an empty file"
    if head.startswith(b"PK"):
        return _zip(path)
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    from milepost.export.onnxfile import is_onnx

    if is_onnx(path):
        return "an ONNX program that Milepost did not export"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 0 < length <= path.stat().st_size - 8:
        return "a safetensors file"
    return _text(head)


def _zip(path: Path) -> str:
    """Tell apart the zip archives that PyTorch writes: by the names in them."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return "a damaged zip file"
    inner = {name.partition("/")[2] for name in names}
    if "archive_format" in inner or any(name.startswith("data/aotinductor/") for name in inner):
        return "a .pt2 program that Milepost did not export"
    if any(name.startswith("code/") for name in inner):
        return "a TorchScript program that Milepost did not export"
    if "data.pkl" in inner:
        return "a pickle written by torch.save"
    return "a zip file of another program"


def _text(head: bytes) -> str:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or len(head) < HEAD:
            return "a binary file of another program"
        text = head[: error.start].decode()
    if "\0" in text:
        return "a binary file of another program"
    lines = text.splitlines()
    if any(line.startswith(("architecture:", "training_set:")) for line in lines):
        return "an options file, which `milepost options expand` prints"
    if lines and lines[0].strip().isdecimal():
        return "a file of structures in XYZ format"
    return "a text file"
