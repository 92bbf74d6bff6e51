"""Any tree that can be saved is loaded equal, and saving what was loaded gives the same bytes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import find, given, settings

from compat import archives, trees
from milepost.archive import Archive, write_archive
from milepost.errors import UnsavableError

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trees")


def write(path: Path, tree: Any) -> None:
    write_archive(path, kind="test", components={"c": tree}, durability="process", overwrite=True)


def read(path: Path) -> Any:
    with Archive.open(path) as archive:
        assert archive.verify() == []
        return archive.tree("c")


@settings(max_examples=200)
@given(tree=trees.trees())
def test_any_tree_is_loaded_equal_and_saved_again_to_the_same_bytes(folder: Path, tree: Any) -> None:
    write(folder / "a", tree)
    loaded = read(folder / "a")
    assert trees.described(loaded) == trees.described(tree)
    write(folder / "b", loaded)
    assert (folder / "b").read_bytes() == (folder / "a").read_bytes()


@given(tree=trees.trees())
def test_a_tree_among_the_manifests_keys_is_loaded_equal(folder: Path, tree: Any) -> None:
    if any(isinstance(item, tuple) and item[0] == "tensor" for item in trees.described(tree)):
        with pytest.raises(UnsavableError, match=r"is a tensor\. Use item\(\)"):
            write_archive(folder / "m", kind="test", components={}, manifest={"k": tree}, overwrite=True)
        return
    write_archive(folder / "m", kind="test", components={}, manifest={"k": tree}, durability="process", overwrite=True)
    with Archive.open(folder / "m") as archive:
        assert trees.described(archive.manifest.extra["k"]) == trees.described(tree)


@pytest.mark.parametrize("wanted", ["tied", "shared memory", "empty", "NaN"])
def test_such_trees_are_drawn(wanted: str) -> None:
    def has(tree: Any) -> bool:
        rows = [row for row in trees.described(tree) if isinstance(row, tuple) and row[0] == "tensor"]
        numbers = [row[-1] for row in rows]
        if wanted == "tied":
            return len(set(numbers)) < len(numbers)
        if wanted == "shared memory":
            return len({row[3] for row in rows if row[3]}) < len(set(numbers))
        return any(not row[3] for row in rows) if wanted == "empty" else ("float", b"nan") in trees.described(tree)

    assert has(find(trees.trees(), has, settings=settings(max_examples=1000)))


def test_the_tree_with_everything_survives_twice(folder: Path) -> None:
    write(folder / "a", archives.tree())
    write(folder / "b", read(folder / "a"))
    assert trees.described(read(folder / "b")) == trees.described(archives.tree())
    assert (folder / "b").read_bytes() == (folder / "a").read_bytes()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1], [1.0]),
        ([1], [True]),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: 0}, {"1": 0}),
        ([0.0], [-0.0]),
        (torch.zeros(1), torch.zeros(1, dtype=torch.int32)),
        (torch.zeros(1), torch.zeros(1, 1)),
        (torch.zeros(1), -torch.zeros(1)),
        ([torch.zeros(1)] * 2, [torch.zeros(1), torch.zeros(1)]),
        ([torch.empty(0)] * 2, [torch.empty(0), torch.empty(0)]),
        ([[1], 2], [[1, 2]]),
    ],
)
def test_trees_that_differ_are_told_apart(one: Any, other: Any) -> None:
    assert trees.described(one) != trees.described(other)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.int16])
def test_a_single_element_of_a_larger_tensor_is_saved(folder: Path, dtype: torch.dtype) -> None:
    base = torch.arange(6).to(dtype).reshape(3, 2)
    tree = {"column": base[:1, 1], "corner": base.t()[1:, 2:], "number": base[1, 1], "spread": base[0, 1].expand(1, 1)}
    assert tree["column"].stride() == (2,)
    write(folder / "a", tree)
    loaded = read(folder / "a")
    for name, tensor in tree.items():
        assert torch.equal(loaded[name], tensor), name


def test_keys_that_python_takes_for_one_are_refused_or_kept_apart(folder: Path) -> None:
    with pytest.raises(UnsavableError, match="expected keys of type str or int, found True"):
        write(folder / "a", {True: 0})
    tree = {1: "number", "1": "text", "True": "word", -1: None, 0: {}}
    write(folder / "a", tree)
    assert trees.described(read(folder / "a")) == trees.described(tree)


def test_two_components_share_no_tensor(folder: Path) -> None:
    tensor = torch.ones(3)
    write_archive(folder / "t", kind="test", components={"a": tensor, "b": [tensor]}, overwrite=True)
    with Archive.open(folder / "t") as archive:
        assert archive.tree("a").data_ptr() != archive.tree("b")[0].data_ptr()
