"""Benchmarks are read from a package or from their published files."""

import importlib.util
import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch

from image_files import labels, numbered, records, write_idx, write_mnist
from milepost.errors import DataError, MissingDependencyError
from milepost.images.benchmarks import BENCHMARKS
from milepost.images.finding import LAYOUTS
from milepost.images.idx import content_digest
from milepost.images.options import FilesOptions
from milepost.images.reading import class_names, read_named, read_source

DIGITS, MNIST, CIFAR10, CIFAR100 = (BENCHMARKS[name].source for name in ("digits", "mnist", "cifar10", "cifar100"))


def test_digits_are_those_of_scikit_learn_a_fifth_of_each_held_out() -> None:
    # Elsewhere: importing scikit-learn changes the environment for good.
    program = (
        "import json, sklearn.datasets as d; print(json.dumps([x.tolist() for x in d.load_digits(return_X_y=True)]))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    images, targets = (np.array(values, dtype=np.int64) for values in json.loads(output))
    found = read_source(DIGITS, None, Path())
    for part in (found.training, found.test):
        numbers = [int(part.where(i).rpartition(" ")[2]) for i in range(len(part))]
        assert np.array_equal(part.images.numpy().reshape(-1, 64), images[numbers])
        assert np.array_equal(part.labels.numpy(), targets[numbers])
    assert len(found.training) + len(found.test) == len(images)
    counts = np.bincount(targets)
    assert found.test.labels.bincount().tolist() == [count // 5 for count in counts]
    assert found.names == tuple("0123456789")
    assert found.training.largest == int(images.max()) == 16


def test_digits_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milepost.images.reading.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="expected the package scikit-learn, found none"):
        read_source(DIGITS, None, Path())


def test_a_package_without_its_digits_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("sklearn", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("milepost.images.reading.find_spec", lambda name: spec)
    with pytest.raises(DataError, match=r"expected the file '.*digits\.csv\.gz', found none"):
        read_source(DIGITS, None, Path())
    assert importlib.util.find_spec("sklearn") is not None


def test_mnist_is_read_from_its_four_files(tmp_path: Path) -> None:
    found = read_source(MNIST, str(write_mnist(tmp_path)), Path())
    assert np.array_equal(found.training.images.numpy()[:, 0], numbered(40))
    assert np.array_equal(found.test.images.numpy()[:, 0], numbered(20, seed=1))
    assert found.test.labels.tolist() == labels(20).tolist()
    assert found.test.where(3) == "t10k-images-idx3-ubyte.gz, image 3"
    assert [name for name, _ in found.training.digests] == [
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    ]  # fmt: skip


def test_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels(20) + np.arange(20) // 19)
    text = r"could not use t10k-images-idx3-ubyte\.gz, image 19: expected a label below 10, found 10"
    with pytest.raises(DataError, match=text):
        read_source(MNIST, str(tmp_path), Path())


def test_cifar10_is_read_from_its_six_files_in_order(tmp_path: Path) -> None:
    images = []
    for number, name in enumerate(LAYOUTS["cifar10"].files):
        content, found = records(np.array([[number], [9]]), seed=number)
        (tmp_path / name).write_bytes(content)
        images.append(found)
    found = read_source(CIFAR10, str(tmp_path), Path())
    assert np.array_equal(found.training.images.numpy(), np.concatenate(images[:5]))
    assert np.array_equal(found.test.images.numpy(), images[5])
    assert found.training.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert found.training.where(5) == "data_batch_3.bin, image 1"
    assert len(found.training.digests) == 5


def test_cifar100_has_its_names_in_a_file(tmp_path: Path) -> None:
    names = [f"thing {number}" for number in range(100)]
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(records(np.array([[1, 99]]))[0])
    (tmp_path / "fine_label_names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    found = read_source(CIFAR100, str(tmp_path), Path())
    assert found.names == tuple(names)
    assert found.training.labels.tolist() == [99]


def test_files_of_ones_own_are_read_from_where_the_options_say(tmp_path: Path) -> None:
    write_idx(tmp_path / "in" / "x.gz", numbered(5))
    write_idx(tmp_path / "in" / "y", labels(5))
    found = read_named(FilesOptions(images="in/x.gz", labels="in/y"), tmp_path, "tasks.0.test_set")
    assert torch.equal(found.images[:, 0], torch.from_numpy(numbered(5)))
    assert dict(found.digests)["y"] == content_digest((tmp_path / "in" / "y").read_bytes())
    assert class_names([found]) == ("0", "1", "2", "3", "4")


def test_a_file_that_is_not_there_is_named_with_its_option(tmp_path: Path) -> None:
    write_idx(tmp_path / "x", numbered(5))
    with pytest.raises(DataError, match=r"'tasks\.0\.test_set\.labels': expected a file, found none at '.*/nothing'"):
        read_named(FilesOptions(images="x", labels="nothing"), tmp_path, "tasks.0.test_set")
