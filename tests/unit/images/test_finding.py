"""Files are found where the user says, or in the usual places; a missing set says where it looked."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from image_files import write_mnist
from milepost.errors import DataError
from milepost.images.benchmarks import SOURCES
from milepost.images.finding import IDX_FILES, LAYOUTS, VARIABLE, find_files


@pytest.fixture(autouse=True)
def _no_place_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_every_source_with_files_has_a_layout() -> None:
    assert set(LAYOUTS) == {source.name for source in SOURCES} - {"digits"}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
def test_a_folder_that_is_named_may_hold_the_files_or_a_folder_of_them(tmp_path: Path, place: str, suffix: str) -> None:
    write_mnist(tmp_path / "there" / place, suffix=suffix)
    found = find_files("mnist", "there", tmp_path)
    assert found == [tmp_path / "there" / place / f"{name}{suffix}" for name in IDX_FILES]


def test_a_name_with_a_dot_is_the_same(tmp_path: Path) -> None:
    write_mnist(tmp_path, suffix="")
    for name in IDX_FILES:
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    assert [path.name for path in find_files("mnist", ".", tmp_path)] == [n.replace("-idx", ".idx") for n in IDX_FILES]


def test_the_environment_names_a_folder_of_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "sets" / "mnist")
    write_mnist(tmp_path / "data" / "mnist")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "sets"))
    assert find_files("mnist", None, tmp_path)[0].parent == tmp_path / "sets" / "mnist"
    monkeypatch.setenv(VARIABLE, "")
    assert find_files("mnist", None, tmp_path)[0].parent == tmp_path / "data" / "mnist"


def test_a_folder_that_is_named_is_looked_in_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "data" / "mnist")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "data"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found no folder with all of them"):
        find_files("mnist", "empty", tmp_path)


def test_sets_of_the_same_file_names_are_not_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path)
    write_mnist(tmp_path / "mnist")
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setitem(LAYOUTS, "fashion-mnist", LAYOUTS["fashion-mnist"].__class__(IDX_FILES, ("fashion-mnist",), ""))
    with pytest.raises(DataError, match="could not find the images of 'fashion-mnist'"):
        find_files("fashion-mnist", None, tmp_path)


def test_a_folder_with_some_of_the_files_is_passed_over(tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / f"{IDX_FILES[3]}.gz").unlink()
    write_mnist(tmp_path / "MNIST")
    assert find_files("mnist", ".", tmp_path)[0].parent == tmp_path / "MNIST"


def test_a_missing_set_says_where_it_looked_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        find_files("mnist", None, tmp_path)
    text = str(error.value)
    for name in IDX_FILES:
        assert name in text
    assert f"\n  {tmp_path}/data/mnist\n" in text
    assert "Get them from 'The MNIST database of handwritten digits' by LeCun, Cortes and Burges" in text
    assert "tasks.data_dir or in $MILEPOST_DATA" in text


@pytest.mark.parametrize(
    ("name", "pickled"), [("cifar10", "cifar-10-batches-py/data_batch_1"), ("cifar100", "cifar-100-python/train")]
)
@pytest.mark.parametrize("inside", [False, True])
def test_the_version_that_is_a_pickle_is_refused_by_name(tmp_path: Path, name: str, pickled: str, inside: bool) -> None:
    file = tmp_path / pickled
    file.parent.mkdir()
    file.touch()
    if name == "cifar100":
        (file.parent / "fine_label_names").touch()
    given = str(file.parent) if inside else "."
    refusal = f"'{re.escape(str(tmp_path))}/cifar.*' is the Python version, a pickle, which runs code when it is opened"
    with pytest.raises(DataError, match=refusal) as error:
        find_files(name, given, tmp_path)
    assert "binary version" in str(error.value)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_every_file_may_be_compressed_and_a_missing_set_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{re.escape(LAYOUTS[name].files[-1])}, each as it is or as \.gz, found no"):
        find_files(name, ".", tmp_path)
    for file in LAYOUTS[name].files:
        (tmp_path / f"{file}.gz").touch()
    assert [path.name for path in find_files(name, ".", tmp_path)] == [f"{file}.gz" for file in LAYOUTS[name].files]


def test_where_a_package_puts_a_set_is_looked_in_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed, own = tmp_path / "packed", tmp_path / "data" / "fashion-mnist"
    monkeypatch.setitem(LAYOUTS, "fashion-mnist", replace(LAYOUTS["fashion-mnist"], system=(str(packed),)))
    with pytest.raises(DataError, match=f"\n  {re.escape(str(packed))}\n"):
        find_files("fashion-mnist", None, tmp_path)
    write_mnist(packed)
    assert find_files("fashion-mnist", None, tmp_path)[0].parent == packed
    write_mnist(own)
    assert find_files("fashion-mnist", None, tmp_path)[0].parent == own
    with pytest.raises(DataError, match="could not find"):
        find_files("fashion-mnist", "elsewhere", tmp_path)


def test_debian_s_package_has_fashion_mnist_in_this_folder() -> None:
    """As `dpkg -L dataset-fashion-mnist` lists it; the files are those of the set, with .gz behind their names."""
    assert LAYOUTS["fashion-mnist"].system == ("/usr/share/datasets/fashion-mnist",)
    assert LAYOUTS["fashion-mnist"].files == IDX_FILES


def test_cifar_is_found_where_its_archive_unpacks_it(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in LAYOUTS["cifar10"].files:
        (folder / name).touch()
    assert find_files("cifar10", None, tmp_path) == [folder / name for name in LAYOUTS["cifar10"].files]
