"""Names that pass together can be unpacked side by side."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.archive import Archive, write_archive
from milepost.archive.names import reason_against_together
from milepost.errors import UnsavableError

NAMES = st.lists(st.sampled_from(["a", "A", "b", "a!", "a.b"]), min_size=1, max_size=3).map("/".join)


@given(st.sets(NAMES, max_size=6))
def test_what_is_refused_is_what_shares_a_place(names: set[str]) -> None:
    folded = [name.lower() for name in names]
    folders = {"/".join(name.split("/")[:depth]) for name in folded for depth in range(1, name.count("/") + 1)}
    clash = len(set(folded)) < len(folded) or bool(set(folded) & folders)
    assert (reason_against_together(names) is not None) == clash


@pytest.mark.parametrize(
    ("components", "files", "reason"),
    [
        ({}, ("x", "x/y.py"), "'x' is a file and a folder of 'x/y.py'"),
        ({}, ("X", "x/y.py"), "'X' is a file and a folder of 'x/y.py'"),
        ({}, ("mimetype/x",), "'mimetype' is a file and a folder of 'mimetype/x'"),
        ({}, ("Manifest.json",), "'Manifest.json' and 'manifest.json' differ only in case"),
        ({"Model": 1, "model": 2}, (), "'Model.json' and 'model.json' differ only in case"),
        ({"model": 1}, ("MODEL.JSON",), "'MODEL.JSON' and 'model.json' differ only in case"),
        ({"model": 1}, ("model.json/x",), "'model.json' is a file and a folder of 'model.json/x'"),
    ],
)
def test_names_that_share_a_place_are_not_saved(
    tmp_path: Path, components: dict[str, Any], files: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(UnsavableError, match=rf"could not save two entries: {reason}.*\. Rename one of them\.$"):
        write_archive(tmp_path / "x", kind="k", components=components, files=dict.fromkeys(files, b""))
    assert list(tmp_path.iterdir()) == []


def test_names_that_do_not_share_a_place_are_saved_and_unpacked(tmp_path: Path) -> None:
    names = ["x.py", "x/y.py", "X/z.py", "x!", "e\u0301/a", "e"]
    write_archive(tmp_path / "a.zip", kind="k", components={"x": 1}, files=dict.fromkeys(names, b"1"))
    with Archive.open(tmp_path / "a.zip") as archive:
        assert archive.verify() == []
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "out")
    assert all((tmp_path / "out" / name).read_bytes() == b"1" for name in names)
