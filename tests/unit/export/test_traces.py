"""What a compiler wrote of a machine is taken out of a file, and all else stays as it was."""

import zipfile
from pathlib import Path

import pytest

from milepost.export import remove_traces

WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Write a zip as torch does, with an entry of every kind."""
    path = tmp_path / "model.x"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/0", WEIGHTS)
        archive.writestr("model/library.so", b"\x7fELF\0/secret/cache/a/b.cpp\0/secret/lib/torch.h\0/secretary/c\0end")
        archive.writestr("model/library.cpp", "// g++ /secret/cache/a/b.cpp")
        archive.writestr("model/code.py", "x = 1\n" * 200, zipfile.ZIP_DEFLATED)
        archive.writestr("model/code.py.debug", "/secret/lib/code.py")
    return path


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_entries_are_left_out_and_the_others_keep_content_order_and_compression(program: Path) -> None:
    before = entries(program)
    remove_traces(program, leave_out=(".cpp", ".debug"))
    after = entries(program)
    assert list(after) == ["model/data/0", "model/library.so", "model/code.py"]
    assert all(before[name] == content for name, content in after.items())
    with zipfile.ZipFile(program) as archive:
        assert [entry.compress_type for entry in archive.infolist()] == [
            zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
        ]  # fmt: skip
    assert [path.name for path in program.parent.iterdir()] == ["model.x"]


def test_folders_are_filled_with_as_many_signs(program: Path) -> None:
    before = entries(program)
    remove_traces(program, leave_out=(".cpp", ".debug"), places=["/secret", "/secret/cache/", "/"])
    after = entries(program)
    assert after["model/library.so"] == b"\x7fELF\0_____________/a/b.cpp\0_______/lib/torch.h\0/secretary/c\0end"
    assert {name: len(content) for name, content in after.items()} == {name: len(before[name]) for name in after}
    assert after["model/data/0"] == WEIGHTS


def test_a_folder_is_known_by_its_real_name_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = tmp_path / "model.x"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/names", f"{tmp_path}/real/a\n{tmp_path}/link/b\n")
    remove_traces(path, leave_out=(".cpp",), places=[f"{tmp_path}/link"])
    filling = "_" * len(f"{tmp_path}/link")
    assert entries(path)["model/names"].decode() == f"{filling}/a\n{filling}/b\n"


def test_data_are_aligned_so_that_they_can_be_mapped(program: Path) -> None:
    remove_traces(program, leave_out=(".cpp",))
    raw = program.read_bytes()
    with zipfile.ZipFile(program) as archive:
        begins = {name: raw.index(archive.read(name)) for name in ("model/data/0", "model/library.so")}
    assert {name: begin % 64 for name, begin in begins.items()} == {"model/data/0": 0, "model/library.so": 0}
